-- What else a session may ask for. Behind queues.lua.

local function receipts()
  local all = {}
  for i = 1, numeric() do all[i] = { argument(), numeric() } end
  return all
end

-- Each reads what belongs to it and returns what does it, so that a transaction can look at all of it before it
-- does any; and second, if it may be in one, what it needs: receipts of what has to be held (2) in a queue (1) or a list of what was
-- taken, and the queue, list or topic that it changes.
local ops = {}

function ops.send()
  local queue, priority, delay, expires = argument(), numeric(), numeric(), numeric()
  local group, id, deduplicate, body = argument(), argument(), numeric(), argument()
  return function()
    keep(queue)
    if id ~= '' then
      local known = call('ZSCORE', key('i', queue), id)
      if known and tonumber(known) > now then return 1 end
      call('ZREMRANGEBYSCORE', key('i', queue), '-inf', now)
    end
    local n = number()
    call('HSET', key('b', queue), n, body)
    if priority == 0 and delay == 0 and expires == 0 and group == '' and #body <= SMALL then
      append(queue, { n })
    else
      local state = { priority, 0, '', expires > 0 and after(expires) or 0, group }
      setState(queue, n, state)
      if expires > 0 then later('x', queue, n, state[4]) end
      if delay > 0 then
        later('d', queue, n, after(delay))
      else
        add(queue, n, state)
      end
    end
    -- Of what could not be kept no id is known: it may be sent again.
    if id ~= '' then call('ZADD', key('i', queue), after(deduplicate), id) end
    return 0
  end, { queue = queue }
end

function ops.ack()
  local queue, all = argument(), receipts()
  return function()
    ripen(queue)
    local answer = 0
    for _, receipt in ipairs(all) do
      if not acknowledge(queue, receipt[1], receipt[2]) then answer = 2 end
    end
    return answer
  end, { queue, all, queue = queue }
end

function ops.nack()
  local queue, n, delivery = argument(), argument(), numeric()
  local how, delay, text = argument(), numeric(), argument()
  return function()
    ripen(queue)
    local state = stateOf(queue, n)
    if isHeld(state, delivery) then
      giveBack(queue, n, state, how, delay, text)
      return 0
    end
    -- It is back already.
    return isUnclaimed(state, delivery) and 0 or 2
  end, { queue, { { n, delivery } }, queue = queue, letters = deadLetterOf }
end

function ops.publish()
  local topic, body = argument(), argument()
  return function() return call('PUBLISH', topic, body) end, { topic = topic }
end

-- How a message that is sent, settled or buried changes a queue: its keys, their types, and commands by which it does.
local CHANGES = {
  { 'b', 'hash', 'HSET', 'f', 'v' }, { 'b', 'hash', 'HDEL', 'f' }, { 's', 'hash', 'HSET', 'f', 'v' }, { 's', 'hash', 'HDEL', 'f' },
  { 'l', 'list', 'RPUSH', 'v' }, { 'w', 'zset', 'ZADD', '1', 'v' }, { 'w', 'zset', 'ZREM', 'v' }, { 'h', 'zset', 'ZREM', 'v' },
  { 'd', 'zset', 'ZADD', '1', 'v' }, { 'x', 'zset', 'ZADD', '1', 'v' }, { 'i', 'zset', 'ZADD', '1', 'v' }, { 'f', 'hash', 'HDEL', 'f' },
}

local function checkQueue(queue)
  for _, change in ipairs(CHANGES) do checkKey(key(change[1], queue), unpack(change, 2)) end
end

-- Raises what would keep a step from being done.
local function checkStep(needs)
  if needs.target then checkKey(needs.target, 'list', 'LPUSH', 'v') end
  if needs.topic then checkRight('PUBLISH', needs.topic, '') end
  if needs.list then
    checkKey(needs.list, 'hash', 'HDEL', 'f')
    checkKey(needs.list .. ':until', 'zset', 'ZREM', 'v')
  end
  if needs.queue then checkQueue(needs.queue) end
  if needs.letters then checkQueue(needs.letters(needs.queue)) end
end

local function areHeld(all)
  local settled = {}
  for _, needs in ipairs(all) do
    for _, receipt in ipairs(needs[2] or {}) do
      local queue, n, delivery = needs[1], receipt[1], receipt[2]
      local state = needs.list and call('HEXISTS', needs.list, n) == 1 and { 0, delivery, me } or stateOf(queue, n)
      if settled[n] or not (isHeld(state, delivery) or isUnclaimed(state, delivery)) then return false end
      settled[n] = true
    end
  end
  return true
end

function ops.transaction()
  local steps, all, published = {}, {}, 0
  for i = 1, numeric() do
    local step, needs = ops[argument()]()
    all[i] = needs
    -- Where nobody tells what this user may publish it is tried before anything else is done.
    if needs.topic then published = published + 1 end
    table.insert(steps, needs.topic and published or #steps + 1, step)
  end
  return function()
    for _, needs in ipairs(all) do checkStep(needs) end
    if not areHeld(all) then return 2 end
    for _, step in ipairs(steps) do step() end
    return 0
  end
end

function ops.declare()
  local queue, visibility, most, deadLetter = argument(), argument(), argument(), argument()
  return function()
    keep(queue)
    if visibility ~= '' then call('HSET', key('o', queue), 'v', visibility) end
    if most ~= '' then call('HSET', key('o', queue), 'm', most) end
    if deadLetter ~= '' then call('HSET', key('o', queue), 'l', deadLetter) end
    return 0
  end
end

function ops.extend()
  local queue, n, delivery, visibility = argument(), argument(), numeric(), numeric()
  return function()
    ripen(queue)
    if visibility == 0 then
      visibility = tonumber(call('HGET', key('o', queue), 'v') or DEFAULT_VISIBILITY)
    end
    local state = stateOf(queue, n)
    if isHeld(state, delivery) then
      later('h', queue, n, after(visibility))
      return 0
    end
    local group = state and state[5] or ''
    -- Another one of its group may have gone before it.
    if not isUnclaimed(state, delivery) or (group ~= '' and busy(queue, group)) then return 2 end
    if not withdraw(queue, n, state) then return 2 end
    if group ~= '' then
      local first = call('ZRANGE', groupKey(queue, group), 0, 0)
      if first[1] then call('ZREM', key('w', queue), first[1]) end
      call('HSET', key('f', queue), group, n)
    end
    hold(queue, n, state, after(visibility))
    return 0
  end
end

local function byPlace(one, other) return one[1] < other[1] end

function ops.peek()
  local queue, count = argument(), numeric()
  return function(row)
    -- It is not remembered, and can be asked again.
    memory[row] = { 'again' }
    ripen(queue)
    local first, groups = {}, {}
    local ready = call('ZRANGE', key('w', queue), 0, count - 1, 'WITHSCORES')
    for i = 1, #ready, 2 do first[#first + 1] = { tonumber(ready[i + 1]), ready[i] } end
    for _, n in ipairs(call('LRANGE', key('l', queue), 0, count - 1)) do first[#first + 1] = { place(0, n), n } end
    -- Groups of which one is held or can be received: what waits behind it.
    for _, group in ipairs(call('HKEYS', key('f', queue))) do groups[group] = true end
    for _, one in ipairs(first) do
      local state = stateOf(queue, one[2])
      if state and state[5] ~= '' then groups[state[5]] = true end
    end
    local known = {}
    for _, one in ipairs(first) do known[one[2]] = true end
    for group in pairs(groups) do
      local behind = call('ZRANGE', groupKey(queue, group), 0, count - 1, 'WITHSCORES')
      for i = 1, #behind, 2 do
        if not known[behind[i]] then first[#first + 1] = { tonumber(behind[i + 1]), behind[i] } end
      end
    end
    table.sort(first, byPlace)
    local found, bytes = {}, 0
    for i = 1, math.min(count, #first) do
      if bytes >= MAX_REPLY then break end
      local n = first[i][2]
      local body, state = call('HGET', key('b', queue), n), stateOf(queue, n)
      if body then
        bytes = bytes + #body
        found[#found + 1] = delivered(n, state, 0, body)
      end
    end
    return found
  end
end

local function counts(queue)
  local delayed, held = call('ZCARD', key('d', queue)), call('ZCARD', key('h', queue))
  return call('HLEN', key('b', queue)) - delayed - held, delayed, held
end

function ops.stats()
  local queue = argument()
  return function()
    ripen(queue)
    local waiting, delayed, held = counts(queue)
    local receivers, all = 0, call('HGETALL', key('R', queue))
    for i = 1, #all, 2 do
      local one = unpacked(all[i + 1])
      if one[2] > now then
        receivers = receivers + one[1]
      else
        call('HDEL', key('R', queue), all[i])
      end
    end
    return { waiting, delayed, held, receivers }
  end
end

-- Removes all that nobody holds.
local function purge(queue)
  local held = call('ZRANGE', key('h', queue), 0, -1)
  local count = call('HLEN', key('b', queue)) - #held
  local saved = {}
  for i, n in ipairs(held) do saved[i] = { n, call('HGET', key('b', queue), n), call('HGET', key('s', queue), n) } end
  local groups = {}
  for _, state in ipairs(call('HVALS', key('s', queue))) do groups[decoded(state)[5]] = true end
  for group in pairs(groups) do
    if group ~= '' then call('UNLINK', groupKey(queue, group)) end
  end
  for _, what in ipairs({ 'w', 'l', 'd', 'x', 'b', 's', 'f' }) do call('UNLINK', key(what, queue)) end
  for _, one in ipairs(saved) do
    local state = decoded(one[3])
    call('HSET', key('b', queue), one[1], one[2])
    call('HSET', key('s', queue), one[1], one[3])
    if state[4] > 0 then call('ZADD', key('x', queue), state[4], one[1]) end
    if state[5] ~= '' then call('HSET', key('f', queue), state[5], one[1]) end
  end
  emptied[queue] = true
  return count
end

function ops.purge()
  local queue = argument()
  return function()
    return purge(queue)
  end
end

function ops.delete()
  local queue = argument()
  return function()
    call('DEL', key('h', queue))
    purge(queue)
    for _, what in ipairs({ 'o', 'i' }) do call('UNLINK', key(what, queue)) end
    call('SREM', P .. 'queues', queue)
    kept[queue] = nil
    return 0
  end
end

function ops.drain()
  local queue = argument()
  return function()
    ripen(queue)
    if call('EXISTS', key('b', queue)) == 0 then return 0 end
    call('SADD', key('z', queue), me)
    return 1
  end
end

function ops.queues()
  return function()
    local names = call('SMEMBERS', P .. 'queues')
    table.insert(names, 1, 'names')
    return names
  end
end

-- What is due somewhere happens, also where nobody asks for anything.
function ops.tend()
  return function()
    local queues = call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, CHUNK)
    for _, queue in ipairs(queues) do
      seen[queue] = true
      ripenNow(queue)
      local at = nextDue(queue)
      if at then
        call('ZADD', P .. 'due', at, queue)
      else
        call('ZREM', P .. 'due', queue)
      end
      known[queue] = at
    end
    -- When something is due next, too.
    local first = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
    return { #queues, first[2] and math.max(0, tonumber(first[2]) - now) or -1 }
  end
end

-- The session is over.
function ops.bye()
  return function()
    call('DEL', P .. 'c:' .. me)
    return 0
  end
end

-- Lists are the server's own; what was taken and not acknowledged yet is in a hash beside, until when in a sorted set.
function ops.push()
  local list, value = argument(), argument()
  return function()
    call('LPUSH', list, value)
    return 0
  end, { target = list }
end

function ops.pop()
  local list, beside, count = argument(), argument(), numeric()
  local receivers = {}
  for i = 1, count do receivers[i] = { argument(), numeric() } end
  return function(row)
    local untils = beside .. ':until'
    -- Who took these has not said that it has them.
    for _, n in ipairs(call('ZRANGEBYSCORE', untils, '-inf', now)) do
      local value = call('HGET', beside, n)
      if value then call('RPUSH', list, value) end
      call('HDEL', beside, n)
      call('ZREM', untils, n)
    end
    local found = { 'values' }
    for _, receiver in ipairs(receivers) do
      local value = call('RPOP', list)
      if not value then break end
      call('HSET', beside, receiver[1], value)
      call('ZADD', untils, now + receiver[2], receiver[1])
      found[#found + 1] = value
    end
    memory[row] = { 'pop', beside, receivers, #found - 1 }
    return found
  end
end

function ops.popped()
  local beside, n, list = argument(), argument(), argument()
  return function()
    local value = call('HGET', beside, n)
    if not value then return 2 end
    -- Back to where it was, or for good.
    if list ~= '' then call('RPUSH', list, value) end
    call('HDEL', beside, n)
    call('ZREM', beside .. ':until', n)
    return 0
  end, { '', { { n, 1 } }, list = beside }
end

function ops.length()
  local list = argument()
  return function() return call('LLEN', list) end
end
