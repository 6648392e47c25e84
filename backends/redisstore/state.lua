-- The state machine of package claim on Redis: any number of operations in one
-- atomic call. claim.Step is the same machine in Go, branch by branch; a test
-- drives both with the same operations and compares answers and records.
--
-- KEYS[i]     the key of operation i; one key may stand there more than once
-- ARGV[1]     the nonce of the call, 8 bytes
-- ARGV[i+1]   operation i: a letter, then cells of 16 bytes, then the rest
--
--   C  TryClaim under Rerun  token ttl maxattempts retention fingerprint | id
--   K  TryClaim under Park   the same
--   E  Extend                token fence ttl
--   D  MarkDone              token fence retention fingerprint | flags result
--   X  MarkDead              token fence | reason
--   R  Release               token fence delay attempt | id
--   F  Forget                zero fence
--   V  Revive                zero fence | id
--
-- returns     one string: the nonce, then for each operation in turn
--
--   C  claimed               fence attempt
--   T  claimed, a takeover   fence attempt
--   A  claimed before        fence attempt remaining
--   P  pending               remaining
--   D  done                  remaining age | flags, length, result
--   X  dead                  attempt length | reason
--   K  parked                attempt
--   S  stale
--   M  mismatch
--   O  carried out           (of all but TryClaim, as are R and L)
--   R  carried out, recovered
--   L  lost
--   B  the record is not readable; nothing was changed
--   E  a command was refused length | message; nothing was changed
--
--   or an error reply when nothing can have been changed by any operation.
--
-- A cell is a number in decimal, blanks before it, or 16 raw bytes (token,
-- fingerprint; zero bytes: none). Times are microseconds. The id is namespace,
-- consumer and message id as Go wrote them; nothing in here looks into it.
-- Flags are a digit: 1 omitted, 2 recovered, 4 with a result.
--
-- Records, by their first byte:
--
--   0-9  done, nothing else to keep: the fence. Redis stores it as an integer.
--   D    done      fence fingerprint | flags result
--   P    pending   token fence deadline attempt retention fingerprint | id
--   R    released  the same
--   X    dead      token fence deadline attempt retention fingerprint length | reason id
--
-- Any other value is not ours or is newer than this file: B, never "absent".
--
-- Redis keeps what a script wrote before it failed, so every operation writes
-- with one command, its last. pcall, not call: an error in one operation must
-- not take the answers of the others with it.

local command, tonumber, max = redis.pcall, tonumber, math.max
local sub, find, format = string.sub, string.find, string.format
local NONE = string.rep('\0', 16)

local time = command('TIME')
if time.err then return time end
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- An error reply that concerns the whole call, for the client to act upon.
local refusal

-- tostring would print 14 digits of a number; fences and times have 16.
local function cell(n)
  return format('%16.0f', n)
end

local function failed(reply)
  local message = reply.err
  -- go-redis leaves a server that was demoted when it sees READONLY, and only
  -- then. A server that refuses one write for it has refused all before.
  if sub(message, 1, 8) == 'READONLY' then refusal = reply end
  return 'E' .. cell(#message) .. message
end

-- The one write of an operation. Redis rounds a life to milliseconds; up, so
-- that no record ends early.
local function put(key, record, life, answer)
  local reply = command('SET', key, record, 'PX', format('%.0f', math.ceil(life / 1000)))
  if reply.err then return failed(reply) end
  return answer
end

local function apply(key, op)
  local kind, record = sub(op, 1, 1), command('GET', key)
  local state, fence, deadline, attempt, retention, fingerprint = '', 0, 0, 0, 0, NONE
  local flags, result = '0', ''

  if record then
    if type(record) == 'table' then
      if sub(record.err, 1, 9) == 'WRONGTYPE' then return 'B' end
      return failed(record)
    end
    state = sub(record, 1, 1)
    if state == 'P' or state == 'R' or state == 'X' then
      local _, last = find(record, '^[ %d]+', 18)
      fence, deadline = tonumber(sub(record, 18, 33)), tonumber(sub(record, 34, 49))
      attempt, retention = tonumber(sub(record, 50, 65)), tonumber(sub(record, 66, 81))
      fingerprint = sub(record, 82, 97)
      if not (last and last >= 81 and fence and deadline and attempt and retention) or #record < 98 then
        return 'B'
      end
      -- Redis ends a record a moment late; deadline and retention say when.
      if state ~= 'X' and now >= deadline + retention then
        state, fence, attempt, fingerprint = '', 0, 0, NONE
      end
    elseif state == 'D' then
      fence, fingerprint = tonumber(sub(record, 2, 17)), sub(record, 18, 33)
      flags, result = sub(record, 34, 34), sub(record, 35)
      if not (fence and find(record, '^ *%d+', 2) and find(flags, '^[0-7]$')) then return 'B' end
    elseif #record <= 16 and find(record, '^%d+$') then
      state, fence = 'D', tonumber(record)
    else
      return 'B'
    end
  end

  if kind == 'C' or kind == 'K' then
    local wanted = sub(op, 66, 81)
    if wanted ~= fingerprint and wanted ~= NONE and fingerprint ~= NONE then return 'M' end
    if state == 'D' then
      local life = command('PTTL', key)
      if type(life) == 'table' then return failed(life) end
      -- A record without an end is not one of ours.
      if life < 0 then return 'B' end
      return 'D' .. cell(max(1, life * 1000)) .. cell(max(0, now - fence)) .. flags .. cell(#result) .. result
    elseif state == 'X' then
      local length = tonumber(sub(record, 98, 113))
      if not length or #record < 113 + length then return 'B' end
      return 'X' .. sub(record, 50, 65) .. sub(record, 98, 113 + length)
    elseif state == 'P' then
      local mine = sub(record, 2, 17) == sub(op, 2, 17)
      if now < deadline then
        if not mine then return 'P' .. cell(deadline - now) end
        -- The first reply was lost; the takeover flag went with it.
        return 'A' .. sub(record, 18, 33) .. sub(record, 50, 65) .. cell(deadline - now)
      end
      if mine then return 'S' end
      if kind == 'K' then return 'K' .. sub(record, 50, 65) end
    elseif state == 'R' then
      if sub(record, 2, 17) == sub(op, 2, 17) then return 'S' end
      if now < deadline then return 'P' .. cell(deadline - now) end
    end
    local limit, ttl = tonumber(sub(op, 34, 49)), tonumber(sub(op, 18, 33))
    retention = tonumber(sub(op, 50, 65))
    if limit > 0 and attempt >= limit then
      local reason = 'attempts exhausted after ' .. format('%.0f', attempt)
      reason = cell(#reason) .. reason
      return put(key, 'X' .. sub(record, 2, 65) .. sub(op, 50, 65) .. fingerprint .. reason .. sub(op, 82),
        retention, 'X' .. sub(record, 50, 65) .. reason)
    end
    fence, attempt = max(fence + 1, now), attempt + 1
    if wanted ~= NONE then fingerprint = wanted end
    return put(key, 'P' .. sub(op, 2, 17) .. format('%16.0f%16.0f%16.0f', fence, now + ttl, attempt)
      .. sub(op, 50, 65) .. fingerprint .. sub(op, 82),
      ttl + retention, (state == 'P' and 'T' or 'C') .. cell(fence) .. cell(attempt))
  end

  -- Token and fence, side by side in operation and record.
  local mine = state ~= '' and state ~= 'D' and sub(record, 2, 33) == sub(op, 2, 33)
  local same = fence == tonumber(sub(op, 18, 33))

  if kind == 'D' then
    local mark, answer = sub(op, 66, 66), 'O'
    if state == 'P' and mine then
      -- The record's own fingerprint is kept.
    elseif state == 'D' and same then
      -- Digits with the second bit: done as recovered, and said so again.
      return find(flags, '[2367]') and 'R' or 'O'
    elseif state == '' then
      fingerprint, mark, answer = sub(op, 50, 65), format('%.0f', tonumber(mark) + 2), 'R'
    else
      return 'L'
    end
    local done = 'D' .. sub(op, 18, 33) .. fingerprint .. mark .. sub(op, 67)
    if mark == '0' and fingerprint == NONE then done = format('%.0f', tonumber(sub(op, 18, 33))) end
    return put(key, done, tonumber(sub(op, 34, 49)), answer)
  end

  if kind == 'E' then
    if state ~= 'P' or not mine then return 'L' end
    local ttl = tonumber(sub(op, 34, 49))
    return put(key, sub(record, 1, 33) .. cell(now + ttl) .. sub(record, 50), ttl + retention, 'O')
  end

  if kind == 'R' then
    mine = mine or tonumber(sub(op, 18, 33)) == 0 and state ~= 'D' and sub(record or '', 2, 17) == sub(op, 2, 17)
    local delay = tonumber(sub(op, 34, 49))
    if state == 'P' and mine then
      return put(key, 'R' .. sub(record, 2, 33) .. cell(now + delay) .. sub(record, 50), delay + retention, 'O')
    elseif state == 'R' and mine then
      return 'O'
    elseif state == '' then
      -- claim.TombstoneTTL.
      return put(key, 'R' .. sub(op, 2, 33) .. cell(now + delay) .. sub(op, 50, 65) .. cell(600000000)
        .. NONE .. sub(op, 66), delay + 600000000, 'O')
    end
    return 'L'
  end

  if kind == 'X' then
    if state == 'X' and mine then return 'O' end
    if state ~= 'P' or not mine then return 'L' end
    local reason = sub(op, 34)
    return put(key, 'X' .. sub(record, 2, 97) .. cell(#reason) .. reason .. sub(record, 98), retention, 'O')
  end

  if kind == 'F' then
    if state == '' then return 'O' end
    if not same then return 'L' end
    local reply = command('DEL', key)
    if type(reply) == 'table' then return failed(reply) end
    return 'O'
  end

  if kind == 'V' then
    if state == '' or not same or state == 'P' and now < deadline then return 'L' end
    local life = deadline + retention - now
    if state == 'X' or state == 'D' then
      life = command('PTTL', key)
      if type(life) == 'table' then return failed(life) end
      if life < 1 then return 'B' end
      life = life * 1000
    end
    return put(key, 'R' .. NONE .. cell(fence) .. cell(now) .. cell(0) .. cell(life) .. fingerprint .. sub(op, 34),
      life, 'O')
  end

  return 'B'
end

local reply = {ARGV[1]}
for i = 1, #KEYS do
  reply[i + 1] = apply(KEYS[i], ARGV[i + 1])
  if refusal then return refusal end
end
return table.concat(reply)
