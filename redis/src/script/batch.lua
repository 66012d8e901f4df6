-- Carries out a batch, once. Behind requests.lua.

-- Wakes as many sessions as there is something for.
local function wake(queue)
  local ready = call('ZCARD', key('w', queue))
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

local function failure(problem)
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  return { 'error', text }
end

-- A batch that was carried out has its answer; messages in it are looked up again.
if ARGV[3] == '1' then
  local known = call('GET', P .. 'c:' .. me)
  known = known and unpacked(known)
  if known and known[1] == batch then
    local answers = known[2]
    for i, one in ipairs(answers) do
      if type(one) == 'table' and one[1] == 'receive' then
        local again = { 0 }
        for r = 3, #one do
          local found = {}
          for _, message in ipairs(one[r]) do
            local state, body = stateOf(one[2], message[1]), call('HGET', key('b', one[2]), message[1])
            if body and isHeld(state, message[2]) then
              found[#found + 1] = delivered(message[1], state, message[3], body)
            end
          end
          again[#again + 1] = found
        end
        answers[i] = again
      elseif type(one) == 'table' and one[1] == 'pop' then
        local found = { 'values' }
        for r = 1, one[4] do found[r + 1] = call('HGET', one[2], one[3][r][1]) or '' end
        answers[i] = found
      end
    end
    return answers
  end
end

local row = 0
while at <= #ARGV do
  local name = argument()
  local run = runs[name]
  if run then
    local queue, count = argument(), numeric()
    local after = at + count * (name == 'acks' and 2 or 1)
    local done, result = pcall(run, queue, count)
    for i = 1, count do rows[row + i] = done and result[i] or failure(result) end
    at = after
    row = row + count
  else
    row = row + 1
    local step = ops[name]()
    local done, result = pcall(step, row)
    rows[row] = done and result or failure(result)
  end
end

for queue in pairs(changed) do wake(queue) end
for queue, at in pairs(dues) do call('ZADD', P .. 'due', 'LT', at, queue) end
for queue in pairs(emptied) do tellDrained(queue) end

local answer = {}
for i = 1, row do answer[i] = memory[i] or rows[i] end
pcall(call, 'SET', P .. 'c:' .. me, pack({ batch, answer }), 'PX', REMEMBERED)
return rows
