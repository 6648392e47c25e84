-- The commands that idemlease sends for a reservation.
-- KEYS[1] record; ARGV: state, token, fingerprint, end of lease, lease in ms
-- returns OK, or the record
local key = KEYS[1]
if redis.call('EXISTS', key) ~= 0 then
  return redis.call('HGETALL', key)
end
redis.call('HSET', key, 'state', ARGV[1], 'token', ARGV[2], 'fp', ARGV[3], 'lease_exp_ms', ARGV[4])
redis.call('PEXPIRE', key, ARGV[5])
return 'OK'
