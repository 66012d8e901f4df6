-- What nearly all batches are made of: messages without options, acknowledgements of one message each, calls that receive, and what is
-- published.
-- The server makes every function of a script anew each time it carries it out: all others (queues.lua, requests.lua, rsmq.lua)
-- are within one that is called when they are needed.
--
-- KEYS[1]   what all keys begin with. All of them are in one slot, which the braces in it decide.
-- ARGV      the session, the number of its batch, whether the batch may have been carried out already, how many messages
--           are sent, and then the requests: a name, and what belongs to it (mod.rs).
--
-- Keys, each followed by the name of the queue:
--   w: what can be received, by place     d: what is delayed, by due time      h: what is held, until when
--   l: numbers of messages that have no options and wait for the first time, in their order; no other key but b: has these
--   x: when it expires                    b: envelopes                         s: states, of those that have one
--   o: options                            i: ids that were there, until when   f: groups that are busy, with what
--   r: sessions that wait, since when     R: with how many calls, until when   z: sessions that wait for the end
--   g: (and the group) what waits in it, by place
-- and P..'n', the last message's number; P..'queues', their names; P..'due', when to look at each again, or sooner; P..'c:' and a
-- session, what its last batch came to.

local P, me, batch = KEYS[1], ARGV[1], ARGV[2]
local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack

-- Milliseconds: a session that waits and has not said so for LEASE is gone.
local LEASE, REMEMBERED = 15000, '3600000'
-- The most bytes in one answer that has several messages, how many are looked at before it is known how large they are, and the most
-- elements in one call.
local MAX_REPLY, UNKNOWN, CHUNK = 16777216, 16, 500
-- The most bytes of an envelope whose number is in P..'l:'. Of more than INLINE of these the session itself asks for the envelopes: to
-- Lua a text costs its length, each time.
local SMALL, INLINE = 16384, 8
-- A key that is new, and gets at least so many elements at once, gets a longer one before them for a moment: without it the server would
-- look for each by looking at all, up to 128 of them.
local MANY, LONG = 24, ('-'):rep(65)
local DEFAULT_VISIBILITY = 30000
local FOREVER = 9007199254740991
-- Of a place: larger priorities first, then smaller numbers. LOWEST is what priority 0 adds to a number.
local RANK = 35184372088832
local LOWEST = 255 * RANK

local seen, changed, dues, emptied = {}, {}, {}, {}
-- By queue: how many are in P..'l:'; by number: envelopes that are at hand.
local lengths, bodies = {}, {}
-- By queue: when to look at it again, as the server has it.
local known = {}
local kept = {}
local rows, memory = {}, {}

-- What the clock says; only `clock` asks for it.
local time, microsecond, now
local function clock()
  if now then return end
  time = call('TIME')
  microsecond = time[1] * 1000000 + time[2]
  now = math.floor(microsecond / 1000)
end

-- All that is not here.
local build, built
local function rules()
  if not built then
    clock()
    built = build()
  end
  return built
end

-- '%d' is much cheaper than '%.0f', and exact up to where numbers are.
local function text(whole) return string.format('%d', whole) end

local last
local function number()
  if not last then last = call('INCRBY', P .. 'n', ARGV[4]) - ARGV[4] end
  last = last + 1
  return text(last)
end

local at = 5
local function argument()
  at = at + 1
  return ARGV[at - 1]
end
local function numeric() return tonumber(argument()) end

local function keep(queue)
  if kept[queue] then return end
  call('SADD', P .. 'queues', queue)
  kept[queue] = true
end

local function dueAt(queue, due)
  if due < (dues[queue] or FOREVER) then dues[queue] = due end
end

-- What is due in a queue happens before anything else does.
local function ripen(queue)
  if seen[queue] then return end
  seen[queue] = true
  clock()
  local due = call('ZSCORE', P .. 'due', queue)
  if not due then return end
  known[queue] = tonumber(due)
  if known[queue] <= now then rules().ripen(queue) end
end

-- Behind all that wait: a queue of which nothing waits may not be known yet.
local function append(queue, numbers)
  local length = call('RPUSH', P .. 'l:' .. queue, unpack(numbers))
  if length == #numbers then keep(queue) end
  lengths[queue], changed[queue] = length, true
end

-- A session holds messages that were taken out for it. Adds them to `found`, which has so many already: how many there are then, and
-- how many bytes have been added.
local function hold(queue, numbers, visibility, found, taken, session)
  local envelopes, isLater = P .. 'b:' .. queue, found[1] == 'later'
  local read = isLater or (#numbers == 1 and bodies[numbers[1]] and { bodies[numbers[1]] })
  read = read or call('HMGET', envelopes, unpack(numbers))
  local till = math.min(now + visibility, FOREVER)
  local tillText, holds, sets, size, bytes = text(till), {}, {}, 0, 0
  for i, n in ipairs(numbers) do
    local body = isLater or read[i]
    -- Without one somebody else has removed it.
    if body then
      size = size + 2
      holds[size - 1], holds[size] = tillText, n
      sets[size - 1], sets[size] = n, session
      taken = taken + 1
      if isLater then
        found[i + 3] = n
      else
        found[2 * taken], found[2 * taken + 1] = tonumber(n), body
        bytes = bytes + #body
      end
    end
  end
  if size > 0 then
    local states, held = P .. 's:' .. queue, P .. 'h:' .. queue
    local isLong = size >= 2 * MANY and call('EXISTS', held) == 0
    if isLong then
      call('HSET', states, LONG, '')
      call('ZADD', held, till, LONG)
    end
    call('HSET', states, unpack(sets))
    call('ZADD', held, unpack(holds))
    if isLong then
      call('HDEL', states, LONG)
      call('ZREM', held, LONG)
    end
    dueAt(queue, till)
  end
  return taken, bytes
end

-- They wait as before.
local function putBack(queue, numbers)
  for i = #numbers, 1, -1 do call('LPUSH', P .. 'l:' .. queue, numbers[i]) end
  pcall(call, 'HDEL', P .. 's:' .. queue, LONG, unpack(numbers))
  pcall(call, 'ZREM', P .. 'h:' .. queue, LONG, unpack(numbers))
end

-- The same as `hold`; if it cannot be done, of whatever type the key is that was in the way, nothing of it is.
local function holdAll(queue, numbers, ...)
  local isDone, taken, bytes = pcall(hold, queue, numbers, ...)
  if isDone then return taken, bytes end
  putBack(queue, numbers)
  error(taken, 0)
end

local function visibilityOf(queue, wanted)
  return wanted > 0 and wanted or tonumber(call('HGET', P .. 'o:' .. queue, 'v') or DEFAULT_VISIBILITY)
end

-- Messages for a consumer, which holds them from then on: how long, and then of each its number and its envelope; or 'later', the key
-- that has the envelopes, how long, and the numbers. All have no options and were never received; false if there are others in the
-- queue.
local function takePlain(queue, count, visibility)
  if call('EXISTS', P .. 'w:' .. queue) == 1 then return false end
  local list, found, taken, bytes = P .. 'l:' .. queue, {}, 0, 0
  while taken < count and bytes < MAX_REPLY do
    local most = math.min(count - taken, CHUNK)
    local numbers = call('LPOP', list, most)
    lengths[queue] = nil
    if not numbers then break end
    visibility = visibilityOf(queue, visibility)
    local isLater = count <= CHUNK and #numbers > INLINE
    if isLater then
      found[1], found[2], found[3] = 'later', P .. 'b:' .. queue, visibility
    else
      found[1] = visibility
    end
    local size
    taken, size = holdAll(queue, numbers, visibility, found, taken, me)
    bytes = bytes + size
    if isLater or #numbers < most then break end
  end
  if taken == 0 then return {} end
  return found
end

-- Many requests of one kind to one queue, or topic: 0 if all came to what is asked for as a rule, or a number for each.
local runs = {}

-- Messages without options.
function runs.sends(queue, count)
  for first = 1, count, CHUNK do
    local numbers, fields = {}, {}
    for i = 1, math.min(CHUNK, count - first + 1) do
      local n = number()
      numbers[i] = n
      fields[2 * i - 1], fields[2 * i] = n, ARGV[at]
      if count <= INLINE then bodies[n] = ARGV[at] end
      at = at + 1
    end
    local envelopes = P .. 'b:' .. queue
    call('HSET', envelopes, unpack(fields))
    local isThere, problem = pcall(append, queue, numbers)
    if not isThere then
      -- Nothing of it is left, of whatever type the key is that was in the way.
      call('HDEL', envelopes, unpack(numbers))
      pcall(call, 'RPOP', P .. 'l:' .. queue, #numbers)
      error(problem, 0)
    end
  end
  return 0
end

-- Acknowledgements of one message each.
function runs.acks(queue, count)
  local ids, deliveries, answers, isAll = {}, {}, {}, true
  for i = 1, count do
    ids[i], deliveries[i] = ARGV[at], ARGV[at + 1]
    at = at + 2
  end
  ripen(queue)
  for first = 1, count, CHUNK do
    local final = math.min(first + CHUNK - 1, count)
    local states = call('HMGET', P .. 's:' .. queue, unpack(ids, first, final))
    local gone, size = {}, 0
    for i = first, final do
      -- It was received for the first time, has no options, and its state is who holds it.
      if states[i - first + 1] == me and deliveries[i] == '1' then
        size = size + 1
        gone[size] = ids[i]
        answers[i] = 0
      else
        isAll = false
      end
    end
    if size > 0 then
      if call('HDEL', P .. 's:' .. queue, unpack(gone)) < size then
        -- One of them is there twice: once it was held.
        local done = {}
        for i = first, final do
          if answers[i] and done[ids[i]] then
            answers[i], isAll = 2, false
          end
          done[ids[i]] = true
        end
      end
      call('ZREM', P .. 'h:' .. queue, unpack(gone))
      call('HDEL', P .. 'b:' .. queue, unpack(gone))
      emptied[queue] = true
    end
  end
  if isAll then return 0 end
  for i = 1, count do
    if not answers[i] then
      answers[i] = rules().acknowledge(queue, ids[i], tonumber(deliveries[i])) and 0 or 2
    end
  end
  return answers
end

-- What is published to one topic: how many have got each.
function runs.publishes(topic, count)
  local answers = {}
  for i = 1, count do
    answers[i] = call('PUBLISH', topic, ARGV[at])
    at = at + 1
  end
  return answers
end

-- What a list of a call has of it when the answer is asked for again: how long its messages are held and their numbers, or more of each.
local function idsOf(found)
  if found[1] == 'later' then return { unpack(found, 3) } end
  local ids = {}
  if type(found[1]) == 'number' then
    ids[1] = found[1]
    for i = 2, #found, 2 do ids[i / 2 + 1] = text(found[i]) end
  else
    for i, message in ipairs(found) do ids[i] = { text(message[1]), message[2], message[3] } end
  end
  return ids
end

-- For all calls of this session that wait in a queue, or for one that does not wait. The number by which it knows again what is handed to
-- it from now on (0 if nothing is to be), and how often it was since it has asked last.
local function receive()
  local queue, waits, token, got, wanted = argument(), argument(), argument(), numeric(), {}
  for i = 1, numeric() do wanted[i] = { numeric(), numeric() } end
  return function(row)
    ripen(queue)
    clock()
    local answers, remembered, served = { 0 }, { 'receive', queue }, 0
    local function serve(found, ids)
      served = served + 1
      answers[served + 1] = found
      remembered[served + 2] = ids
    end
    local last = waits == 'known' and call('HGET', P .. 'R:' .. queue, me)
    local handed = last and unpacked(last)[5] or {}
    if #handed > got then rules().missed(queue, handed, got, #wanted, serve) end
    for i = served + 1, #wanted do
      local count, visibility = wanted[i][1], wanted[i][2]
      local found = takePlain(queue, count, visibility) or rules().take(queue, count, visibility)
      if #found == 0 then break end
      serve(found, idsOf(found))
    end
    if served < #wanted and waits ~= 'no' then
      local rest = {}
      for i = served + 1, #wanted do
        rest[#rest + 1], rest[#rest + 2] = wanted[i][1], wanted[i][2]
      end
      call('ZADD', P .. 'r:' .. queue, 'NX', now, me)
      call('HSET', P .. 'R:' .. queue, me, pack({ #wanted - served, now + LEASE, token ~= '0' and token, rest, {} }))
    elseif waits == 'known' then
      -- It waits no more.
      call('ZREM', P .. 'r:' .. queue, me)
      call('HDEL', P .. 'R:' .. queue, me)
    end
    memory[row] = remembered
    return answers
  end
end

-- Hands the next messages of a queue in which all have no options to a session that waits, which holds them from then on, with the news of them: how many, 0 if it has to ask. What
-- it does not get, it is told of when it asks next.
local function hand(queue, session, known)
  if not known[3] or known[1] == 0 then return 0 end
  local count, visibility = known[4][1], visibilityOf(queue, known[4][2])
  local numbers = call('LPOP', P .. 'l:' .. queue, math.min(count, INLINE))
  if not numbers then return 0 end
  local found = {}
  local isDone, taken = pcall(holdAll, queue, numbers, visibility, found, 0, session)
  if not isDone then return 0 end
  local news, handed = { 'h', known[3], ' ', text(visibility), ' ', #queue, ' ', queue }, { visibility }
  for i = 2, 2 * taken, 2 do
    local n, body = text(found[i]), found[i + 1]
    news[#news + 1] = n .. ' ' .. #body .. ' '
    news[#news + 1] = body
    handed[#handed + 1] = n
  end
  if taken == 0 or call('PUBLISH', P .. 'session:' .. session, table.concat(news)) == 0 then
    putBack(queue, numbers)
    return 0
  end
  known[1] = known[1] - 1
  known[4] = { unpack(known[4], 3) }
  known[5][#known[5] + 1] = handed
  call('HSET', P .. 'R:' .. queue, session, pack(known))
  return taken
end

-- Wakes as many sessions as there is something for, or hands it to them if it is little.
local function wake(queue)
  local waiters, calls, others, ready = P .. 'r:' .. queue, P .. 'R:' .. queue, nil, 1
  while ready > 0 do
    local first = call('ZPOPMIN', waiters)
    if not first[1] then return end
    if not others then
      clock()
      others = call('ZCARD', P .. 'w:' .. queue)
      ready = others + (lengths[queue] or call('LLEN', P .. 'l:' .. queue))
      if ready == 0 then
        call('ZADD', waiters, first[2], first[1])
        return
      end
    end
    local session = first[1]
    local waits = call('HGET', calls, session)
    local known = waits and unpacked(waits) or { 0, 0 }
    if known[2] <= now then
      call('HDEL', calls, session)
    else
      local handed = others == 0 and ready <= INLINE and hand(queue, session, known) or 0
      ready = ready - handed
      if handed == 0 then
        if call('PUBLISH', P .. 'session:' .. session, 'w' .. queue) > 0 then ready = ready - known[1] end
      elseif known[1] > 0 then
        call('ZADD', waiters, first[2], session)
      end
    end
  end
end

-- Up to the end of ends.lua.
build = function()
