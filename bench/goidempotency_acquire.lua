-- The commands that go-idempotency sends to acquire a key that nobody has.
-- KEYS[1] record; ARGV: namespace, tenant, operation, caller, id, token, lease and
-- retention in ms, version and sum of the fingerprint
-- returns the outcome and the record
local key = KEYS[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('EXISTS', key) ~= 0 then
  return {'exists'}
end
local at = string.format('%.0f', now)
redis.call('HSET', key,
  'schema', '1', 'namespace', ARGV[1], 'tenant', ARGV[2], 'operation', ARGV[3], 'caller', ARGV[4],
  'key_value', ARGV[5], 'fingerprint_version', ARGV[9], 'fingerprint_sum', ARGV[10],
  'state', 'acquired', 'owner_token', ARGV[6], 'fencing_token', '1',
  'lease_expires_at_ms', string.format('%.0f', now + ARGV[7]), 'heartbeat_at_ms', at, 'attempt', '1',
  'created_at_ms', at, 'updated_at_ms', at, 'completed_at_ms', '0', 'failed_at_ms', '0',
  'abandoned_at_ms', '0', 'expired_at_ms', '0', 'result', '', 'metadata', '{}')
redis.call('PEXPIRE', key, ARGV[7] + ARGV[8])
local names = {
  'schema', 'namespace', 'tenant', 'operation', 'caller', 'key_value', 'fingerprint_version', 'fingerprint_sum',
  'state', 'owner_token', 'fencing_token', 'lease_expires_at_ms', 'heartbeat_at_ms', 'attempt', 'created_at_ms',
  'updated_at_ms', 'completed_at_ms', 'failed_at_ms', 'abandoned_at_ms', 'expired_at_ms', 'result', 'metadata'
}
local values, reply = redis.call('HMGET', key, unpack(names)), {'acquired'}
for i, name in ipairs(names) do
  reply[2 * i], reply[2 * i + 1] = name, values[i]
end
return reply
