-- The simplest completion: done, if the claim is still the caller's.
-- KEYS[1] record; ARGV[1] token, ARGV[2] retention in ms
-- returns 1 done, 0 lost
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2])
return 1
