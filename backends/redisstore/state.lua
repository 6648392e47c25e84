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
--   F  Forget                state fence
--   V  Revive                state fence | id
--
-- returns     one string: the nonce, the time, then for each operation in turn
--
--   C  claimed               fence deadline attempt
--   T  claimed, a takeover   fence deadline attempt
--   A  claimed before        fence deadline attempt
--   P  pending               deadline
--   F  done, nothing kept    remaining fence
--   D  done                  remaining fence | flags, length, result
--   X  dead                  attempt length | reason
--   K  parked                attempt
--   S  stale
--   M  mismatch
--   O  carried out           (this and the next two: all but TryClaim)
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
-- with one command, its last; and pcall, not call: an error in one operation
-- must not take the answers of the others with it.
--
-- tostring would print 14 digits of a number; fences and times have 16, so they
-- are formatted. %d is exact to 2^53 where a C long has 64 bits, and three times
-- as fast as %.0f; elsewhere the time at the head of the answer is no time, and
-- Go refuses the server. Formatting costs as much as a GET all the same: what is
-- already a cell is copied.

local command, tonumber, max, ceil = redis.pcall, tonumber, math.max, math.ceil
local sub, find, format = string.sub, string.find, string.format
local ZERO = '               0'
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

local time = command('TIME')
-- Redis calls it a plain ERR, which could come from the middle of a script.
if time.err then return redis.error_reply('NOPERM TIME: ' .. time.err) end
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local NOW = format('%16d', now)

-- What the operation before had asked for: in a batch mostly the same as this.
local terms, term, granted, life, px

-- The one write of an operation. Redis counts lives in milliseconds; up, so that
-- no record ends early.
local function put(key, record, micros, answer)
  if micros ~= life then life, px = micros, format('%d', ceil(micros / 1000)) end
  local reply = command('SET', key, record, 'PX', px)
  if reply.err then return nil, reply end
  return answer
end

-- Returns the answer, or nil and the error reply that was in the way.
local function apply(key, op)
  local kind, record = sub(op, 1, 1), command('GET', key)
  local state, fingerprint, deadline, retention = '', NONE, 0, 0

  if record then
    if type(record) == 'table' then
      if sub(record.err, 1, 9) == 'WRONGTYPE' then return 'B' end
      return nil, record
    end
    state = sub(record, 1, 1)
    if state == 'P' or state == 'R' or state == 'X' then
      deadline, retention = tonumber(sub(record, 34, 49)), tonumber(sub(record, 66, 81))
      if not (deadline and retention) or #record < 98 then return 'B' end
      fingerprint = sub(record, 82, 97)
      -- Redis ends a record a moment late; deadline and retention say when.
      if state ~= 'X' and now >= deadline + retention then state, fingerprint = '', NONE end
    elseif state == 'D' then
      if #record < 34 or not find(record, '^ *%d+', 2) or not find(record, '^[0-7]', 34) then return 'B' end
      fingerprint = sub(record, 18, 33)
    elseif #record <= 16 and find(record, '^[1-9]%d*$') then
      state = 'F'
    else
      return 'B'
    end
  end

  if kind == 'C' or kind == 'K' then
    local wanted, fence, attempt = sub(op, 66, 81), 0, 0
    if wanted ~= fingerprint and wanted ~= NONE and fingerprint ~= NONE then return 'M' end
    if state == 'F' or state == 'D' then
      local left = command('PTTL', key)
      if type(left) == 'table' then return nil, left end
      if left < 0 then return 'B' end -- ours have an end
      local remaining = format('%16d', max(1, left * 1000))
      if state == 'F' then return 'F' .. remaining .. format('%16s', record) end
      return 'D' .. remaining .. sub(record, 2, 17) .. sub(record, 34, 34)
        .. format('%16d', #record - 34) .. sub(record, 35)
    elseif state == 'X' then
      local length = tonumber(sub(record, 98, 113))
      if not length or #record < 113 + length then return 'B' end
      return 'X' .. sub(record, 50, 65) .. sub(record, 98, 113 + length)
    elseif state ~= '' then
      local mine = sub(record, 2, 17) == sub(op, 2, 17)
      if now < deadline then
        if state == 'R' and mine then return 'S' end
        -- The first reply was lost; the takeover flag went with it.
        if mine then return 'A' .. sub(record, 18, 65) end
        return 'P' .. sub(record, 34, 49)
      end
      if mine then return 'S' end
      if state == 'P' and kind == 'K' then return 'K' .. sub(record, 50, 65) end
      fence, attempt = tonumber(sub(record, 18, 33)), tonumber(sub(record, 50, 65))
      if not (fence and attempt) then return 'B' end
      local limit = tonumber(sub(op, 34, 49))
      if limit > 0 and attempt >= limit then
        local reason = 'attempts exhausted after ' .. format('%d', attempt)
        reason = format('%16d', #reason) .. reason
        return put(key, 'X' .. sub(record, 2, 65) .. sub(op, 50, 65) .. fingerprint .. reason .. sub(op, 82),
          tonumber(sub(op, 50, 65)), 'X' .. sub(record, 50, 65) .. reason)
      end
    end
    -- Fence, deadline and attempt.
    if state ~= '' or terms ~= sub(op, 18, 65) then
      local ttl = tonumber(sub(op, 18, 33))
      terms, term, granted = state == '' and sub(op, 18, 65), ttl + tonumber(sub(op, 50, 65)), NOW
      if fence >= now then granted = format('%16d', fence + 1) end
      granted = granted .. format('%16d%16d', now + ttl, attempt + 1)
    end
    -- Retention, fingerprint and id as they came, unless the record alone has a
    -- fingerprint.
    local rest = sub(op, 50)
    if wanted ~= fingerprint and wanted == NONE then
      rest = sub(op, 50, 65) .. fingerprint .. sub(op, 82)
    end
    return put(key, 'P' .. sub(op, 2, 17) .. granted .. rest, term,
      (state == 'P' and 'T' or 'C') .. granted)
  end

  -- Token and fence stand side by side in operation and record.
  local open = state == 'P' or state == 'R' or state == 'X'
  local mine = open and sub(record, 2, 33) == sub(op, 2, 33)

  if kind == 'D' then
    local flags, answer = sub(op, 66, 66), 'O'
    if state == '' then
      fingerprint, flags, answer = sub(op, 50, 65), format('%d', flags + 2), 'R'
    elseif state ~= 'P' or not mine then
      -- Done by the same grant: fine, and said again if it was recovered.
      if state == 'F' and format('%16s', record) == sub(op, 18, 33) then return 'O' end
      if state ~= 'D' or sub(record, 2, 17) ~= sub(op, 18, 33) then return 'L' end
      return find(record, '^[2367]', 34) and 'R' or 'O'
    end
    local done
    if flags == '0' and fingerprint == NONE then
      done = string.match(sub(op, 18, 33), '%d+')
    else
      done = 'D' .. sub(op, 18, 33) .. fingerprint .. flags .. sub(op, 67)
    end
    return put(key, done, tonumber(sub(op, 34, 49)), answer)
  end

  if kind == 'E' then
    if state ~= 'P' or not mine then return 'L' end
    local ttl = tonumber(sub(op, 34, 49))
    return put(key, sub(record, 1, 33) .. format('%16d', now + ttl) .. sub(record, 50), ttl + retention, 'O')
  end

  if kind == 'R' then
    local delay = tonumber(sub(op, 34, 49))
    if state == '' then
      -- claim.TombstoneTTL.
      return put(key, 'R' .. sub(op, 2, 33) .. format('%16d', now + delay) .. sub(op, 50, 65)
        .. '       600000000' .. NONE .. sub(op, 66), delay + 600000000, 'O')
    end
    -- Without a fence the token alone decides.
    mine = mine or open and sub(op, 18, 33) == ZERO and sub(record, 2, 17) == sub(op, 2, 17)
    if not mine or state == 'X' then return 'L' end
    if state == 'R' then return 'O' end
    local attempt = sub(record, 50, 65)
    if sub(op, 18, 33) == ZERO then
      -- Who never heard of its grant ran nothing.
      attempt = tonumber(attempt)
      if not attempt then return 'B' end
      attempt = format('%16d', max(0, attempt - 1))
    end
    return put(key, 'R' .. sub(record, 2, 33) .. format('%16d', now + delay) .. attempt .. sub(record, 66),
      delay + retention, 'O')
  end

  if kind == 'X' then
    if state == 'X' and mine then return 'O' end
    if state ~= 'P' or not mine then return 'L' end
    local reason = sub(op, 34)
    return put(key, 'X' .. sub(record, 2, 97) .. format('%16d', #reason) .. reason .. sub(record, 98), retention, 'O')
  end

  -- Forget and Revive name what the operator saw: a state, in the place of the
  -- token, and a fence.
  local shown = state == 'F' and 'D' or state
  local fence = state == 'F' and format('%16s', record) or state == 'D' and sub(record, 2, 17)
    or open and sub(record, 18, 33)

  if kind == 'F' then
    if state == '' then return 'O' end
    if shown ~= sub(op, 2, 2) or fence ~= sub(op, 18, 33) then return 'L' end
    local reply = command('DEL', key)
    if type(reply) == 'table' then return nil, reply end
    return 'O'
  end

  if kind == 'V' then
    if state == '' or fence ~= sub(op, 18, 33) then return 'L' end
    if shown ~= sub(op, 2, 2) or state == 'P' and now < deadline then
      -- Revived before: the first reply was lost.
      if state == 'R' and sub(record, 50, 65) == ZERO then return 'O' end
      return 'L'
    end
    -- The token stays, so that a late copy of the old claim is Stale.
    local token = (state == 'D' or state == 'F') and NONE or sub(record, 2, 17)
    local left = deadline + retention - now
    if state ~= 'P' and state ~= 'R' then
      left = command('PTTL', key)
      if type(left) == 'table' then return nil, left end
      if left < 0 then return 'B' end
      left = max(1, left * 1000)
    end
    return put(key, 'R' .. token .. fence .. NOW .. format('%16d%16d', 0, left) .. fingerprint .. sub(op, 34),
      left, 'O')
  end

  return 'B'
end

local answers = {ARGV[1], NOW}
for i = 1, #KEYS do
  local answer, refusal = apply(KEYS[i], ARGV[i + 1])
  if refusal then
    local message = refusal.err
    -- go-redis leaves a server that was demoted when it sees READONLY, and only
    -- then. A server that refuses one write for it has refused all before.
    if sub(message, 1, 8) == 'READONLY' then return refusal end
    answer = 'E' .. format('%16d', #message) .. message
  end
  answers[i + 2] = answer
end
return table.concat(answers)
