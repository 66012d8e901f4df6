-- What a batch does to those who wait for the end of a queue, and its answer when it is asked for again. Behind rsmq.lua; it ends the function that
-- begins with queues.lua.

local function tellDrained(queue)
  if call('EXISTS', key('b', queue)) == 1 then return end
  for _, session in ipairs(call('SMEMBERS', key('z', queue))) do
    call('PUBLISH', P .. 'session:' .. session, 'w' .. queue)
  end
  call('DEL', key('z', queue))
end

-- What was handed to this session and has not reached it comes now, to as many of its calls; what is too much goes back.
local function missed(queue, handed, got, most, serve)
  local served = 0
  for i = got + 1, #handed do
    local found, ids = { handed[i][1] }, { handed[i][1] }
    for m = 2, #handed[i] do
      local n = handed[i][m]
      local state, body = stateOf(queue, n), call('HGET', key('b', queue), n)
      if body and isHeld(state, 1) then
        if served == most then
          giveBack(queue, n, state, 'unseen', 0, '')
        else
          found[#found + 1], found[#found + 2] = tonumber(n), body
          ids[#ids + 1] = n
        end
      end
    end
    if #found > 1 then
      served = served + 1
      serve(found, ids)
    end
  end
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
  ops = ops, ripen = ripenNow, take = take, acknowledge = acknowledge, missed = missed, tellDrained = tellDrained, again = again,
}
end
