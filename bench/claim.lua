-- The simplest claim: the key is the caller's unless somebody else has it.
-- KEYS[1] record; ARGV[1] token, ARGV[2] lease in ms
-- returns 1 claimed, 0 running elsewhere, 2 done
local record = redis.call('GET', KEYS[1])
if not record then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
if record == ARGV[1] then
  return 1
end
if record == 'done' then
  return 2
end
return 0
