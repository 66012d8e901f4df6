-- All other rules of a queue, carried out by the server in one piece: the requests of one batch, in their order. Behind runs.lua, and
-- within a function. See docs/bus.md for what they mean; bus/src/engine does the same for the engines of our own.

local function key(what, queue) return P .. what .. ':' .. queue end
local function groupKey(queue, group) return P .. 'g:' .. #queue .. ':' .. queue .. ':' .. group end
local function place(priority, n) return (255 - priority) * RANK + tonumber(n) end
local function after(duration) return math.min(now + duration, FOREVER) end

-- States: priority, deliveries, session that holds it ('' for none), when it expires (0 for never), group, and of a dead
-- letter where it was. A message that has none waits for the first time and has no options; of one that was then received the
-- state is who holds it, whose name is ASCII.
local function decoded(state)
  if state:byte() < 128 then return { 0, 1, state, 0, '' } end
  return unpacked(state)
end
local function stateOf(queue, n)
  local state = call('HGET', key('s', queue), n)
  if state then return decoded(state) end
  if call('HEXISTS', key('b', queue), n) == 1 then return { 0, 0, '', 0, '' } end
  return nil
end
local function setState(queue, n, state) call('HSET', key('s', queue), n, pack(state)) end

local function later(what, queue, n, at)
  call('ZADD', key(what, queue), at, n)
  dueAt(queue, at)
end

local function busy(queue, group) return call('HGET', key('f', queue), group) end

-- The first of a group can be received again.
local function promote(queue, group)
  local first = call('ZRANGE', groupKey(queue, group), 0, 0, 'WITHSCORES')
  if first[1] then call('ZADD', key('w', queue), first[2], first[1]) end
end

local function add(queue, n, state)
  local at = place(state[1], n)
  changed[queue] = true
  local group = state[5]
  if group == '' then
    call('ZADD', key('w', queue), at, n)
    return
  end
  local waiting = groupKey(queue, group)
  local first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  call('ZADD', waiting, at, n)
  if busy(queue, group) or (first[1] and tonumber(first[2]) < at) then return end
  if first[1] then call('ZREM', key('w', queue), first[1]) end
  call('ZADD', key('w', queue), at, n)
end

-- A message is not in its group's way any more.
local function free(queue, n, group)
  if group == '' or busy(queue, group) ~= n then return end
  call('HDEL', key('f', queue), group)
  promote(queue, group)
  changed[queue] = true
end

local function remove(queue, n, state)
  call('HDEL', key('b', queue), n)
  call('HDEL', key('s', queue), n)
  if state[4] > 0 then call('ZREM', key('x', queue), n) end
  emptied[queue] = true
end

-- Takes out a message that waits or is delayed.
local function withdraw(queue, n, state)
  local group = state[5]
  if call('ZREM', key('d', queue), n) == 1 then
    free(queue, n, group)
    return true
  end
  local wasReady = call('ZREM', key('w', queue), n) == 1
  if group == '' then return wasReady end
  if call('ZREM', groupKey(queue, group), n) == 0 then return false end
  if not busy(queue, group) then promote(queue, group) end
  changed[queue] = true
  return true
end

local function hold(queue, n, state, till)
  state[3] = me
  setState(queue, n, state)
  later('h', queue, n, till)
end

local function hasExpired(state) return state[4] > 0 and state[4] <= now end

local function deadLetterOf(queue)
  local name = call('HGET', key('o', queue), 'l')
  if name then return name end
  local last = math.min(#queue, 250)
  -- Between characters.
  while last < #queue and last > 0 and math.floor(queue:byte(last + 1) / 64) == 2 do last = last - 1 end
  return queue:sub(1, last) .. '.dead'
end

local function bury(queue, n, state, reason, text)
  local to = deadLetterOf(queue)
  local body = call('HGET', key('b', queue), n)
  remove(queue, n, state)
  keep(to)
  local dead = { state[1], 0, '', 0, state[5], queue, state[2], reason, text }
  call('HSET', key('b', to), n, body)
  setState(to, n, dead)
  add(to, n, dead)
end

-- A held message comes back: 'failed', 'expired', 'lost', or 'unseen'.
local function giveBack(queue, n, state, how, delay, text)
  call('ZREM', key('h', queue), n)
  state[3] = ''
  if how == 'unseen' then state[2] = state[2] - 1 end
  if hasExpired(state) then
    free(queue, n, state[5])
    return remove(queue, n, state)
  end
  local most = how ~= 'unseen' and tonumber(call('HGET', key('o', queue), 'm') or 0) or 0
  if most > 0 and state[2] >= most then
    free(queue, n, state[5])
    return bury(queue, n, state, how, text)
  end
  setState(queue, n, state)
  if how == 'failed' and delay > 0 then
    later('d', queue, n, after(delay))
  else
    free(queue, n, state[5])
    add(queue, n, state)
  end
end

local function due(what, queue)
  return call('ZRANGEBYSCORE', key(what, queue), '-inf', now, 'LIMIT', 0, CHUNK)
end

local function ripenNow(queue)
  for _, n in ipairs(due('d', queue)) do
    call('ZREM', key('d', queue), n)
    local state = stateOf(queue, n)
    if state then
      free(queue, n, state[5])
      add(queue, n, state)
    end
  end
  for _, n in ipairs(due('h', queue)) do
    local state = stateOf(queue, n)
    if state then
      giveBack(queue, n, state, 'expired', 0, '')
    else
      call('ZREM', key('h', queue), n)
    end
  end
  for _, n in ipairs(due('x', queue)) do
    local state = stateOf(queue, n)
    call('ZREM', key('x', queue), n)
    -- Who holds it may finish.
    if state and state[3] == '' then
      withdraw(queue, n, state)
      remove(queue, n, state)
    end
  end
end

-- When something is due in a queue next, or nil.
local function nextDue(queue)
  local first
  for _, what in ipairs({ 'd', 'h', 'x' }) do
    local found = call('ZRANGE', key(what, queue), 0, 0, 'WITHSCORES')
    if found[2] then first = math.min(first or FOREVER, tonumber(found[2])) end
  end
  return first
end

-- A message that has no options and is no dead letter needs few words.
local function delivered(n, state, visibility, body)
  if state[1] == 0 and state[5] == '' and not state[6] then return { tonumber(n), state[2], visibility, body } end
  local dead = state[6] and 1 or 0
  return { tonumber(n), state[2], visibility, state[1], state[5], dead, state[6] or '', state[7] or 0,
    state[8] or '', state[9] or '', body }
end

-- Takes out the next of those that wait, at most so many: their numbers.
local function pop(queue, most)
  local places, list = key('w', queue), key('l', queue)
  local head, first = call('ZRANGE', places, 0, 0, 'WITHSCORES'), call('LINDEX', list, 0)
  if not head[1] then return call('LPOP', list, most) or {} end
  local ids = {}
  if not first then
    for i, value in ipairs(call('ZPOPMIN', places, most)) do
      if i % 2 == 1 then ids[#ids + 1] = value end
    end
    return ids
  end
  local before = LOWEST + tonumber(first)
  if tonumber(head[2]) < before then
    ids = call('ZRANGEBYSCORE', places, '-inf', '(' .. text(before), 'LIMIT', 0, most)
    call('ZREM', places, unpack(ids))
    return ids
  end
  for _, n in ipairs(call('LRANGE', list, 0, most - 1)) do
    if LOWEST + tonumber(n) > tonumber(head[2]) then break end
    ids[#ids + 1] = n
  end
  return call('LPOP', list, #ids)
end

-- Whether this user may do that. Redis 6.2 does not tell.
local function checkRight(command, ...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(command, ...) then
    error('NOPERM this user has no permissions to run ' .. command .. ' on what this needs', 0)
  end
end

local function checkKey(name, kind, command, ...)
  local is = call('TYPE', name).ok
  if is ~= kind and is ~= 'none' then error('WRONGTYPE ' .. name .. ' is a ' .. is, 0) end
  checkRight(command, name, ...)
end

-- What is needed for holding messages, before they are taken out.
local HOLDS = { { 's', 'hash', 'HSET', 'f', 'v' }, { 'h', 'zset', 'ZADD', '1', 'v' }, { 'b', 'hash', 'HDEL', 'f' }, { 'f', 'hash', 'HSET', 'f', 'v' } }

-- Messages for a consumer, which holds them from then on.
local function take(queue, count, visibility)
  local found, bytes = {}, 0
  if visibility == 0 then
    visibility = tonumber(call('HGET', key('o', queue), 'v') or DEFAULT_VISIBILITY)
  end
  local till = after(visibility)
  for _, change in ipairs(HOLDS) do checkKey(key(change[1], queue), unpack(change, 2)) end
  while #found < count and bytes < MAX_REPLY do
    local fits = bytes == 0 and UNKNOWN or math.max(1, math.floor((MAX_REPLY - bytes) * #found / bytes))
    local ids = pop(queue, math.min(count - #found, fits, CHUNK))
    if #ids == 0 then break end
    local states = call('HMGET', key('s', queue), unpack(ids))
    local bodies = call('HMGET', key('b', queue), unpack(ids))
    local holds, sets = {}, {}
    for i, n in ipairs(ids) do
      local state = states[i] and decoded(states[i]) or { 0, 0, '', 0, '' }
      local group = state[5]
      if bytes >= MAX_REPLY then
        call('ZADD', key('w', queue), place(state[1], n), n)
      elseif not bodies[i] then
        -- Somebody else has removed it.
        call('HDEL', key('s', queue), n)
      elseif hasExpired(state) then
        if group ~= '' then
          call('ZREM', groupKey(queue, group), n)
          promote(queue, group)
        end
        remove(queue, n, state)
      else
        if group ~= '' then
          call('ZREM', groupKey(queue, group), n)
          call('HSET', key('f', queue), group, n)
        end
        state[2] = state[2] + 1
        state[3] = me
        sets[#sets + 1] = n
        sets[#sets + 1] = pack(state)
        holds[#holds + 1] = till
        holds[#holds + 1] = n
        bytes = bytes + #bodies[i]
        found[#found + 1] = delivered(n, state, visibility, bodies[i])
      end
    end
    if #sets > 0 then
      call('HSET', key('s', queue), unpack(sets))
      call('ZADD', key('h', queue), unpack(holds))
      dueAt(queue, till)
    end
  end
  return found
end

local function isHeld(state, delivery) return state and state[3] == me and state[2] == delivery end
-- A message that was held for too long is its last consumer's until another one has it.
local function isUnclaimed(state, delivery)
  return state and state[3] == '' and state[2] == delivery and delivery > 0
end

local function acknowledge(queue, n, delivery)
  local state = stateOf(queue, n)
  if isHeld(state, delivery) then
    call('ZREM', key('h', queue), n)
    remove(queue, n, state)
    free(queue, n, state[5])
    return true
  end
  if not isUnclaimed(state, delivery) then return false end
  withdraw(queue, n, state)
  remove(queue, n, state)
  return true
end
