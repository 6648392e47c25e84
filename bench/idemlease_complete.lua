-- The commands that idemlease sends for a completion.
-- KEYS[1] record; ARGV: token, payload, end of the record, retention in ms
-- returns OK, or what is wrong
local key = KEYS[1]
local owner = redis.call('HGET', key, 'token')
if not owner then
  return 'absent'
elseif owner ~= ARGV[1] then
  return 'not mine'
elseif redis.call('HGET', key, 'state') ~= '1' then
  return 'absent'
end
redis.call('HSET', key, 'state', '2', 'payload', ARGV[2], 'rec_exp_ms', ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
return 'OK'
