-- Completions with nothing to keep, of claims in the plain layout: what most calls
-- carry is all that this script knows, so that it takes the server two thirds of the
-- time of state.lua, whose words it uses. One that meets anything but its own running
-- claim, for whose retention it is done, changes nothing and is carried out by state.lua.
--
-- KEYS[i]    the key of completion i; none stands there twice
-- ARGV[1]    the nonce of the call, 8 bytes
-- ARGV[2]    the head of a run of MarkDone
-- ARGV[3..]  for each of them: fence token
-- returns    the nonce, the time, then for each O, carried out, or ?, to be asked for

local keys, args, command = KEYS, ARGV, redis.pcall
local sub, find, byte = string.sub, string.find, string.byte
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

local time = command('TIME')
if time.err then return redis.error_reply('NOPERM TIME: ' .. time.err) end
local now = string.format('%16s', time[1] .. string.format('%06d', time[2]))

local head = args[2]
local kept, behind = sub(head, 18, 33), sub(head, 34, 49) <= now
local answers = {args[1], now}

for i = 1, #keys do
  local name, owner, answer = keys[i], args[i + 2], '?'
  local record = behind and command('SET', name, sub(head, 46 + 4 * i, 49 + 4 * i), 'XX', 'GET', 'KEEPTTL')
  if type(record) == 'string' then
    local kind, at = byte(record), nil
    if kind == 112 and #record > 65 then
      at = 18
    elseif kind == 80 and #record > 97 and find(record, NONE, 82, true) == 82 then
      at = 34
    end
    if at and find(record, owner, at + 16, true) == at + 16 and find(record, kept, at, true) == at
      and now <= sub(record, 2, 17) then
      answer = 'O'
    else
      command('SET', name, record, 'KEEPTTL')
    end
  end
  answers[i + 2] = answer
end

return table.concat(answers)
