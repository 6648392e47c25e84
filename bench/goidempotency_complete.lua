-- The commands that go-idempotency sends for a completion: every field is checked
-- to be there and not too long, then all are read, then the owner is compared.
-- KEYS[1] record; ARGV: namespace, tenant, operation, caller, id, token, fence,
-- result, metadata, retention in ms
-- returns the outcome and the record
local key = KEYS[1]
local names = {
  'schema', 'namespace', 'tenant', 'operation', 'caller', 'key_value', 'fingerprint_version', 'fingerprint_sum',
  'state', 'owner_token', 'fencing_token', 'lease_expires_at_ms', 'heartbeat_at_ms', 'attempt', 'created_at_ms',
  'updated_at_ms', 'completed_at_ms', 'failed_at_ms', 'abandoned_at_ms', 'expired_at_ms', 'result', 'metadata'
}
if redis.call('EXISTS', key) == 0 then
  return {'absent'}
end
if redis.call('HLEN', key) ~= #names then
  return {'invalid'}
end
for _, name in ipairs(names) do
  if redis.call('HEXISTS', key, name) ~= 1 or redis.call('HSTRLEN', key, name) > 65536 then
    return {'invalid'}
  end
end
local record = redis.call('HMGET', key, unpack(names))
for i = 1, 5 do
  if record[i + 1] ~= ARGV[i] then
    return {'invalid'}
  end
end
cjson.decode(record[22])
if redis.call('HGET', key, 'owner_token') ~= ARGV[6] or redis.call('HGET', key, 'fencing_token') ~= ARGV[7] then
  return {'stale'}
end
if redis.call('HGET', key, 'state') ~= 'acquired' then
  return {'invalid'}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if now >= tonumber(redis.call('HGET', key, 'lease_expires_at_ms')) then
  return {'expired'}
end
local at = string.format('%.0f', now)
redis.call('HSET', key, 'state', 'completed', 'result', ARGV[8], 'metadata', ARGV[9],
  'completed_at_ms', at, 'updated_at_ms', at)
redis.call('PEXPIRE', key, ARGV[10])
local values, reply = redis.call('HMGET', key, unpack(names)), {'ok'}
for i, name in ipairs(names) do
  reply[2 * i], reply[2 * i + 1] = name, values[i]
end
return reply
