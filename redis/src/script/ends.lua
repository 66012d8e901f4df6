-- What a batch does to those who wait, and its answer when it is asked for again. Behind rsmq.lua; it ends the function that
-- begins with queues.lua.

-- Wakes as many sessions as there is something for.
local function wake(queue)
  local ready = call('ZCARD', key('w', queue)) + call('LLEN', key('l', queue))
  while ready > 0 do
    local first = call('ZPOPMIN', key('r', queue))
    if not first[1] then return end
    local waits = call('HGET', key('R', queue), first[1])
    local known = waits and unpacked(waits) or { 0, 0 }
    if known[2] > now and call('PUBLISH', P .. 'session:' .. first[1], queue) > 0 then
      ready = ready - known[1]
    elseif known[2] <= now then
      call('HDEL', key('R', queue), first[1])
    end
  end
end

local function tellDrained(queue)
  if call('EXISTS', key('b', queue)) == 1 then return end
  for _, session in ipairs(call('SMEMBERS', key('z', queue))) do
    call('PUBLISH', P .. 'session:' .. session, queue)
  end
  call('DEL', key('z', queue))
end

-- A batch that was carried out has its answer; messages in it are looked up again. Nil if it was not.
local function again()
  local stored = call('GET', P .. 'c:' .. me)
  stored = stored and unpacked(stored)
  if not stored or stored[1] ~= batch then return nil end
  local answers = stored[2]
  for i, one in ipairs(answers) do
    if type(one) == 'table' and one[1] == 'receive' then
      local queue, served = one[2], { 0 }
      for r = 3, #one do
        local found, messages = {}, one[r]
        if type(messages[1]) == 'number' then
          for m = 2, #messages do messages[m] = { messages[m], 1, messages[1] } end
          table.remove(messages, 1)
        end
        for _, message in ipairs(messages) do
          local n, delivery, visibility = message[1], message[2], message[3]
          local state, body = stateOf(queue, n), call('HGET', key('b', queue), n)
          if body and isHeld(state, delivery) then found[#found + 1] = delivered(n, state, visibility, body) end
        end
        served[r - 1] = found
      end
      answers[i] = served
    elseif type(one) == 'table' and one[1] == 'pop' then
      local found = { 'values' }
      for r = 1, one[4] do found[r + 1] = call('HGET', one[2], one[3][r][1]) or '' end
      answers[i] = found
    end
  end
  return answers
end

return {
  ops = ops, ripen = ripenNow, take = take, acknowledge = acknowledge, wake = wake, tellDrained = tellDrained, again = again,
}
end
