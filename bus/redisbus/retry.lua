-- Delivers entries again to the consumer that has them. One that was delivered by
-- a copy of this call, whose reply was lost, is delivered under the same number.
--
-- KEYS[1]  stream
-- ARGV     group, consumer, then for each entry: id, deliveries so far
-- returns  for each entry its id and fields; or "taken", it is another's by now;
--          or "deleted", it is no longer in the stream
local out = {}
for i = 3, #ARGV, 2 do
  local id, n = ARGV[i], tonumber(ARGV[i + 1])
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])[1]
  if pending and (pending[4] == n or pending[4] == n + 1) then
    local entries = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', n + 1)
    out[#out + 1] = entries[1] or 'deleted'
  else
    out[#out + 1] = 'taken'
  end
end
return out
