-- What corral/rsmq asks for, on rsmq's own keys, so that it shares queues with rsmq. Behind requests.lua.
-- Arguments are the namespace, the queue, and what belongs to the call; answers begin with a word.

local function base36(value)
  local digits = ''
  repeat
    local digit = value % 36
    digits = string.char(digit < 10 and 48 + digit or 87 + digit) .. digits
    value = math.floor(value / 36)
  until value == 0
  return digits
end

local function rsmqAttributes(key)
  local found = call('HMGET', key .. ':Q', 'vt', 'delay', 'maxsize', 'totalrecv', 'totalsent', 'created', 'modified')
  if not found[1] then return { 'none' } end
  local answer = { 'ok' }
  for i = 1, 7 do answer[i + 1] = found[i] or '0' end
  answer[9] = tostring(call('ZCARD', key))
  answer[10] = tostring(call('ZCOUNT', key, '(' .. string.format('%.0f', now), '+inf'))
  return answer
end

local rsmq = {}

function rsmq.create(ns, queue, vt, delay, maxsize)
  local key = ns .. queue .. ':Q'
  if call('HSETNX', key, 'vt', vt) == 0 then return { 'exists' } end
  call('HSETNX', key, 'delay', delay)
  call('HSETNX', key, 'maxsize', maxsize)
  call('HSETNX', key, 'created', time[1])
  call('HSETNX', key, 'modified', time[1])
  call('SADD', ns .. 'QUEUES', queue)
  return { 'ok' }
end

function rsmq.deleteQueue(ns, queue)
  local key = ns .. queue
  local gone = call('DEL', key .. ':Q', key)
  call('SREM', ns .. 'QUEUES', queue)
  return { gone == 0 and 'none' or 'ok' }
end

function rsmq.list(ns)
  local names = call('SMEMBERS', ns .. 'QUEUES')
  table.insert(names, 1, 'ok')
  return names
end

function rsmq.attributes(ns, queue) return rsmqAttributes(ns .. queue) end

function rsmq.set(ns, queue, ...)
  local key = ns .. queue
  if call('HEXISTS', key .. ':Q', 'vt') == 0 then return { 'none' } end
  call('HSET', key .. ':Q', 'modified', time[1])
  for i, name in ipairs({ 'vt', 'delay', 'maxsize' }) do
    local value = select(i, ...)
    if value ~= '' then call('HSET', key .. ':Q', name, value) end
  end
  return rsmqAttributes(key)
end

function rsmq.send(ns, queue, delay, random, length, isTold, message)
  local key = ns .. queue
  local found = call('HMGET', key .. ':Q', 'delay', 'maxsize', 'vt')
  if not (found[1] and found[2] and found[3]) then return { 'none' } end
  local most = tonumber(found[2])
  if most ~= -1 and tonumber(length) > most then return { 'long' } end
  if delay == '' then delay = found[1] end
  -- Those of one batch stay in their order.
  microsecond = microsecond + 1
  local id = base36(microsecond) .. random
  call('ZADD', key, now + tonumber(delay) * 1000, id)
  call('HSET', key .. ':Q', id, message)
  call('HINCRBY', key .. ':Q', 'totalsent', 1)
  if isTold == '1' then call('PUBLISH', ns .. 'rt:' .. queue, call('ZCARD', key)) end
  return { 'ok', id }
end

local function rsmqNext(key)
  local id = call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 1)[1]
  if not id then return nil end
  call('HINCRBY', key .. ':Q', 'totalrecv', 1)
  local body = call('HGET', key .. ':Q', id) or ''
  local rc = call('HINCRBY', key .. ':Q', id .. ':rc', 1)
  local fr = string.format('%.0f', now)
  if rc == 1 then
    call('HSET', key .. ':Q', id .. ':fr', fr)
  else
    fr = call('HGET', key .. ':Q', id .. ':fr') or fr
  end
  return id, { 'ok', id, tostring(rc), fr, body }
end

function rsmq.receive(ns, queue, vt)
  local key = ns .. queue
  local found = call('HMGET', key .. ':Q', 'vt', 'delay', 'maxsize')
  if not (found[1] and found[2] and found[3]) then return { 'none' } end
  local id, answer = rsmqNext(key)
  if not id then return { 'empty' } end
  if vt == '' then vt = found[1] end
  call('ZADD', key, now + tonumber(vt) * 1000, id)
  return answer
end

function rsmq.delete(ns, queue, id)
  local key = ns .. queue
  local wasThere = call('ZREM', key, id)
  local gone = call('HDEL', key .. ':Q', id, id .. ':rc', id .. ':fr')
  return { wasThere == 1 and gone > 0 and 'ok' or 'gone' }
end

function rsmq.visibility(ns, queue, id, vt)
  local key = ns .. queue
  local found = call('HMGET', key .. ':Q', 'vt', 'delay', 'maxsize')
  if not (found[1] and found[2] and found[3]) then return { 'none' } end
  if not call('ZSCORE', key, id) then return { 'gone' } end
  call('ZADD', key, now + tonumber(vt) * 1000, id)
  return { 'ok' }
end

function rsmq.pop(ns, queue)
  local key = ns .. queue
  local found = call('HMGET', key .. ':Q', 'vt', 'delay', 'maxsize')
  if not (found[1] and found[2] and found[3]) then return { 'none' } end
  local id, answer = rsmqNext(key)
  if not id then return { 'empty' } end
  call('ZREM', key, id)
  call('HDEL', key .. ':Q', id, id .. ':rc', id .. ':fr')
  return answer
end

function ops.rsmq()
  local name, all = argument(), {}
  for i = 1, numeric() do all[i] = argument() end
  return function() return rsmq[name](unpack(all)) end
end
