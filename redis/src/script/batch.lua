-- Carries out a batch, once. Behind all the others.

local function failure(problem)
  local what = type(problem) == 'table' and problem.err or tostring(problem)
  return { 'error', what }
end

if ARGV[3] == '1' then
  local answers = rules().again()
  if answers then return answers end
end

local row = 0
while at <= #ARGV do
  local name = argument()
  local run, done, result = runs[name], nil, nil
  row = row + 1
  if run then
    local queue, count = argument(), numeric()
    local next = at + count * (name == 'acks' and 2 or 1)
    done, result = pcall(run, queue, count)
    at = next
  else
    done, result = pcall(name == 'receive' and receive() or rules().ops[name](), row)
  end
  rows[row] = done and result or failure(result)
end

-- What was done is done: who cannot be woken looks after a while.
for queue in pairs(changed) do pcall(wake, queue) end
for queue, due in pairs(dues) do
  if due < (known[queue] or FOREVER) then call('ZADD', P .. 'due', 'LT', text(due), queue) end
end
for queue in pairs(emptied) do
  if call('EXISTS', P .. 'z:' .. queue) == 1 then rules().tellDrained(queue) end
end

local answer = {}
for i = 1, row do answer[i] = memory[i] or rows[i] end
pcall(call, 'SET', P .. 'c:' .. me, pack({ batch, answer }), 'PX', REMEMBERED)
return rows
