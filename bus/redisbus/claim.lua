-- Claims entries that nobody has kept for long enough, whoever had them, and
-- tells how often each was delivered, which XAUTOCLAIM does not.
--
-- KEYS[1]  stream
-- ARGV     group, consumer, least idle time in ms, where to go on, at most how many
-- returns  where to go on ("0-0": from the start), how many entries were deleted
--          from the stream before they were settled, then the entries: id, fields,
--          deliveries
local reply = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local out = {reply[1], #(reply[3] or {})}
for _, entry in ipairs(reply[2]) do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
  out[#out + 1] = {entry[1], entry[2], pending[1][4]}
end
return out
