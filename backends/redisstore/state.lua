-- The state machine of package claim on Redis: any number of operations in one
-- atomic call. claim.Step is the same machine in Go, branch by branch; a test
-- drives both with the same operations and compares answers and records.
--
-- KEYS[i]     the key of operation i; one key may stand there more than once.
--             With the packed layout, before them: the layout record
--             With places among them, behind them: the chunks, as in positions.lua
-- ARGV[1]     the nonce of the call, 8 bytes
--             With the packed layout, then: its head, as in marker.lua
--             With places, then: their text, as in positions.lua
-- ARGV[2..]   runs: a head, which is for operations of one kind on the same
--             terms, and a body for each of them, in the order of the keys
--
--   head, by its letter                        body
--   C  TryClaim, Rerun  count ttl limit kept | life   token | id
--   K  TryClaim, Park   the same               the same
--   c, k  the same two, with a fingerprint     token fingerprint | id
--   U  TryClaim, anew   count ttl              fence token
--   E  Extend           count ttl              fence token
--   D  MarkDone         count kept fence |     fence token; fingerprint | flags, result if there
--                       stamps                 is more to keep than that it is done
--   X  MarkDead         count                  fence token | reason
--   R  Release          count delay            fence token attempt | id
--   F  Forget           count                  fence | state
--   V  Revive           count                  fence | state id
--
-- returns     one string: the nonce, the time, then for each operation in turn
--
--   N  claimed, the first    at the time of this answer, which is the fence
--   C  claimed               deadline attempt kept fence
--   T  claimed, a takeover   deadline attempt kept fence
--   A  claimed before        deadline attempt kept fence
--   P  pending               deadline
--   F  done, nothing kept    remaining
--   D  done                  remaining | flags, length, result
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
-- U is for a claim that was made without the script, with a fence that is too low, and
-- nobody has heard of: it gets this time for a fence, and is answered A, or L where it
-- has ended.
--
-- A cell is 16 bytes: a number in decimal, blanks before it, or raw bytes (token,
-- fingerprint; zero bytes: none). Behind the bar stands what has another size. Times
-- are microseconds; kept is the retention; life is ttl and kept in milliseconds. The
-- id is namespace, consumer and message id as Go wrote them; nothing in here looks
-- into it. Flags are a digit: 1 omitted, 2 recovered, 4 with a result. A stamp is four
-- digits made of a token; a head has those of the whole run, and the highest fence in
-- it. A state is the first byte of a record.
--
-- Records, by their first byte:
--
--   0-9  done, nothing else to keep: the stamp of the owner's token. Redis shares the
--        objects of numbers below 10000. A longer number is the owner's fence, as in
--        records from before there were stamps.
--   D    done      fence fingerprint | flags result
--   p    pending, as the first claim of a key left it: deadline kept fence token | id
--   q    the same  with a fingerprint: deadline kept fence token fingerprint | id
--   P    pending   deadline attempt kept fence token fingerprint | id
--   R    released  the same
--   X    dead      deadline attempt kept fence token fingerprint length | reason id
--   F    none: it was forgotten a moment ago. So the next claim of the key comes by here.
--
-- Any other value is not ours or is newer than this file: B, never "absent".
-- Redis alone ends records; it counts their lives in milliseconds, rounded up. A key
-- that is done while its lease holds, and for the retention of the claim, keeps the end
-- that the claim gave it.
--
-- Where there is none, or one that is not running, a marker of the packed layout
-- or the bit of a place may say that it is done.
--
-- Redis keeps what a script wrote before it failed, so every operation decides
-- first and writes with one command, its last; and pcall, not call: an error in
-- one operation must not take the answers of the others with it. Two operations
-- write twice. One on a marker or a bit, where one of the two decides: the marker,
-- which wins over the record, is set before the record goes and removed after it
-- came. And a completion, which puts back what it was not meant for: after its first
-- write Redis refuses a script no other, and nobody sees what is between the two.
--
-- What follows is fast on purpose, above all the claim of a key without a record and
-- its completion. A command costs as much as some thirty lines of Lua, so where there
-- is no marker to be looked for each is one SET that answers with what was there: with
-- NX, which leaves it there, and with XX, which finds its own claim and needs to undo
-- nothing. A string that is made is hashed, copied by the command, and collected later:
-- the record of a fresh claim is short, and is the run's part before the body as it
-- came; its answer is one letter. What is the same for a run is made once; strings are
-- compared in place. There are few functions, since every call makes them anew. tostring
-- would print 14 digits of a number; fences and times have 16. %d is exact to 2^53
-- where a C long has 64 bits, and three times as fast as %.0f; elsewhere the time at the
-- head of the answer is none, and Go refuses the server.

local keys, args, command = KEYS, ARGV, redis.pcall
local tonumber, max = tonumber, math.max
local sub, find, format, byte = string.sub, string.find, string.format, string.byte
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local ZERO = '               0'

local time = command('TIME')
-- Redis calls it a plain ERR, which could come from the middle of a script.
if time.err then return redis.error_reply('NOPERM TIME: ' .. time.err) end
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local NOW = format('%16d', now)

-- A life in milliseconds, as SET takes it; up, so that no record ends early. None ends
-- sooner than LEAST after a claim of its key, so that the fence of a claim that Go makes
-- by the time that it knows of is above those before: it is less than that behind this
-- clock.
local LEAST = 30
-- claim.MaxGrace. A lease that holds for longer was made by a wrong time.
local GRACE = 10000
local function millis(micros)
  return format('%d', max(LEAST, math.ceil(micros / 1000)))
end

local answers, key, arg = {args[1], NOW}, 0, 1
local lookup, mark, unmark, packs
local final, clear, place, set, unset = #keys, nil, nil, nil, nil
if args[2] and find(args[2], '^[GHYZ]') then
  if find(args[2], '^[GH]') then
    lookup, mark, unmark = markers(now, args[2])
    key, arg = 1, 2
    if tonumber(sub(args[2], 2, 17)) > 0 then packs = tonumber(sub(args[2], 18, 33)) end
  end
  if find(args[arg + 1], '^[YZ]') then
    arg = arg + 1
    final, clear, place, set, unset = positions(args[arg], key)
  end
end

local shift = 2 - key -- from an operation's key to its answer

while key < final do
  -- The terms of the run.
  arg = arg + 1
  local head = args[arg]
  local kind, last, term = sub(head, 1, 1), key + tonumber(sub(head, 2, 17)), tonumber(sub(head, 18, 33))
  local kept, fresh, print, bare, life, due
  if kind == 'C' or kind == 'K' then
    kept, life = sub(head, 50, 65), sub(head, 66)
    fresh = 'p' .. format('%16d', now + term) .. kept .. NOW
  elseif kind == 'D' then
    kept, life, bare = sub(head, 18, 33), millis(term), not lookup and tonumber(sub(head, 34, 49)) <= now
  elseif kind == 'c' or kind == 'k' then
    kept, life, print = sub(head, 50, 65), sub(head, 66), true
    fresh, kind = 'q' .. format('%16d', now + term) .. kept .. NOW, kind == 'c' and 'C' or 'K'
  elseif term then
    due = format('%16d', now + term)
  end
  local same -- the retention that life was made of, where the records have it
  local done -- the records of a run that markers or bits took the place of

  local before = key
  while key < last do
    key, arg = key + 1, arg + 1
    local name, op = keys[key], args[arg]
    local answer, record, reply, refusal

    if fresh and not lookup and (not clear or clear(key)) then
      record = command('SET', name, fresh .. op, 'NX', 'GET', 'PX', life)
      if not record then
        answer = 'N'
      elseif record.err then
        -- For want of memory, because of what is there, or by a server before 7.0.
        reply, record = record, command('GET', name)
        if not record then
          local placed = command('SET', name, fresh .. op, 'NX', 'PX', life)
          answer = 'N'
          if placed then reply = placed end
        end
      end
    elseif bare and not set and #op == 32 then
      local i = 46 + 4 * (key - before)
      local stamp = sub(head, i, i + 3)
      record = command('SET', name, stamp, 'XX', 'GET', 'KEEPTTL')
      if type(record) == 'string' then
        if byte(record) == 112 and #record > 65 and find(record, op, 34, true) == 34 then
          answer = 'O'
          if find(record, kept, 18, true) ~= 18 or now > (tonumber(sub(record, 2, 17)) or 0) then
            reply = command('SET', name, stamp, 'PX', life)
          end
        else
          reply = command('SET', name, record, 'KEEPTTL')
          if reply.err then answer = 'O' else reply = nil end
        end
      end
    else
      record = command('GET', name)
      if bare and #op == 32 and type(record) == 'string' and byte(record) == 112 and #record > 65 and find(record, op, 34, true) == 34 then
        local deadline, lasting = tonumber(sub(record, 2, 17)) or 0, term
        if now <= deadline and find(record, kept, 18, true) == 18 then lasting = deadline + term - now end
        local marked, problem = set(key, lasting)
        if problem == 'B' then
          answer = 'B'
        elseif marked then
          answer, reply = 'O', problem
          if not problem then
            done = done or {'DEL'}
            done[#done + 1] = name
          end
        end
      end
    end

    if not answer then
      -- The first byte of the record, 0 for any digit, nothing when there is none.
      local state, px, value = '', life, nil
      if type(record) == 'table' then
        if sub(record.err, 1, 9) == 'WRONGTYPE' then answer = 'B' else refusal = record end
      elseif record then
        state = sub(record, 1, 1)
        if state == 'p' and #record > 65 or state == 'q' and #record > 81 then
          record = 'P' .. sub(record, 2, 17) .. '               1' .. sub(record, 18, 65)
            .. (state == 'p' and NONE or '') .. sub(record, 66)
          state = 'P'
        elseif state == 'P' or state == 'R' or state == 'X' then
          if #record < 98 then answer = 'B' end
        elseif state == 'D' then
          if not find(record, '^D *%d+') or not find(record, '^[0-7]', 34) then answer = 'B' end
        elseif #record <= 16 and find(record, '^[1-9]%d*$') then
          state = '0'
        elseif record == 'F' then
          state = ''
        else
          answer = 'B'
        end
      end

      local left -- of the retention, where a marker or a bit says so
      if (lookup or place) and not answer and not refusal and (state == '' or (state == 'P' or state == 'R')
        and (now >= (tonumber(sub(record, 2, 17)) or 0) or kind == 'X' or kind == 'F' or kind == 'V'
        or kind == 'D' and place)) then
        local stamp, problem
        if place then stamp, left, problem = place(key) end
        if lookup and not stamp and not problem then stamp, left, problem = lookup(name) end
        if stamp then state, record = '0', stamp end
        if problem == 'B' then answer = 'B' else refusal = problem end
      end

      if answer or refusal then
        -- Whatever was asked for, this is no record to do it with.

      elseif kind == 'C' or kind == 'K' then
        if state == '' then
          value, answer = fresh .. op, 'N'
        else
          local wanted, known, id = NONE, NONE, 17
          if print then wanted, id = sub(op, 17, 32), 33 end
          local limit = tonumber(sub(head, 34, 49))
          if state == 'D' then known = sub(record, 18, 33) elseif state ~= '0' then known = sub(record, 82, 97) end
          if wanted ~= known and wanted ~= NONE and known ~= NONE then
            answer = 'M'
          elseif state == '0' or state == 'D' then
            local remaining = left or command('PTTL', name)
            if type(remaining) == 'table' then
              refusal = remaining
            elseif remaining < 0 then
              answer = 'B' -- ours have an end
            elseif state == '0' then
              answer = 'F' .. format('%16d', left or max(1, remaining * 1000))
            else
              answer = 'D' .. format('%16d', max(1, remaining * 1000)) .. sub(record, 34, 34)
                .. format('%16d', #record - 34) .. sub(record, 35)
            end
          elseif state == 'X' then
            local length = tonumber(sub(record, 98, 113))
            if length and #record >= 113 + length then
              answer = 'X' .. sub(record, 18, 33) .. sub(record, 98, 113 + length)
            else
              answer = 'B'
            end
          else
            local mine = sub(record, 66, 81) == sub(op, 1, 16)
            local deadline, attempt = tonumber(sub(record, 2, 17)), tonumber(sub(record, 18, 33))
            local fence = tonumber(sub(record, 50, 65))
            if not (deadline and attempt and fence) then
              answer = 'B'
            elseif now < deadline and not mine then
              answer = 'P' .. sub(record, 2, 17)
            elseif now < deadline and state == 'P' then
              -- The first reply was lost; the takeover flag went with it.
              answer = 'A' .. sub(record, 2, 65)
            elseif mine then
              answer = 'S'
            elseif state == 'P' and kind == 'K' then
              answer = 'K' .. sub(record, 18, 33)
            elseif limit > 0 and attempt >= limit then
              local reason = 'attempts exhausted after ' .. format('%d', attempt)
              reason = format('%16d', #reason) .. reason
              value = 'X' .. sub(record, 2, 33) .. kept .. sub(record, 50, 97) .. reason .. sub(op, id)
              px, answer = millis(tonumber(kept)), 'X' .. sub(record, 18, 33) .. reason
            else
              local grant = format('%16d%16d', now + term, attempt + 1) .. kept
              if fence >= now then grant = grant .. format('%16d', fence + 1) else grant = grant .. NOW end
              if wanted ~= NONE then known = wanted end
              value = 'P' .. grant .. sub(op, 1, 16) .. known .. sub(op, id)
              answer = (state == 'P' and 'T' or 'C') .. grant
            end
          end
        end

      elseif kind == 'D' then
        local i = 46 + 4 * (key - before)
        local stamp, known, flags = sub(head, i, i + 3), NONE, '0'
        if #op > 32 then known, flags = sub(op, 33, 48), sub(op, 49, 49) end
        if state == 'P' and sub(record, 50, 81) == sub(op, 1, 32) then
          known, answer = sub(record, 82, 97), 'O'
          local lasting, deadline = term, tonumber(sub(record, 2, 17)) or 0
          if sub(record, 34, 49) == kept and now <= deadline then
            lasting, px = deadline + term - now, nil
          end
          -- Revive takes the time for the fence of a record that has none. It must not
          -- fall, so a fence that is ahead of the clock, which was set back, is kept.
          if flags == '0' and known == NONE and (tonumber(sub(op, 1, 16)) or 0) <= now then
            value = stamp
            local marked, problem
            if set then marked, problem = set(key, lasting) end
            if not marked and packs and term <= packs then marked, problem = true, mark(name, term, lasting, value) end
            if problem == 'B' then answer = 'B' else refusal = problem end
            if marked then
              if not problem then
                done = done or {'DEL'}
                done[#done + 1] = name
              end
              value = nil
            end
          else
            value = 'D' .. sub(op, 1, 16) .. known .. flags .. sub(op, 50)
          end
        elseif state == '' then
          value, answer = 'D' .. sub(op, 1, 16) .. known .. format('%d', flags + 2) .. sub(op, 50), 'R'
        elseif state == '0' and (record == stamp or record == '0' or format('%16s', record) == sub(op, 1, 16)) then
          -- The same grant finished before, and its reply was lost. A bit cannot tell
          -- whose it is: what is done is done.
          answer = 'O'
        elseif state == 'D' and sub(record, 2, 17) == sub(op, 1, 16) then
          answer = find(record, '^[2367]', 34) and 'R' or 'O'
        else
          answer = 'L'
        end

      elseif kind == 'U' then
        answer = 'L'
        local deadline, retention = tonumber(sub(record or '', 2, 17)), tonumber(sub(record or '', 34, 49))
        if state == 'P' and sub(record, 50, 81) == sub(op, 1, 32) and deadline and retention and now < deadline then
          if deadline > now + term + GRACE then deadline = now + term end
          value = 'P' .. format('%16d', deadline) .. sub(record, 18, 49) .. NOW .. sub(record, 66)
          px, answer = millis(deadline - now + retention), 'A' .. sub(value, 2, 65)
        end

      elseif kind == 'E' or kind == 'X' then
        local mine = (state == 'P' or state == 'X') and sub(record, 50, 81) == sub(op, 1, 32)
        if kind == 'X' and mine and state == 'X' then
          answer = 'O'
        elseif not mine or state == 'X' then
          answer = 'L'
        else
          local retention = sub(record, 34, 49)
          if retention ~= same and tonumber(retention) then
            same, life = retention, millis((term or 0) + tonumber(retention))
          end
          px = life
          if retention ~= same then
            answer = 'B'
          elseif kind == 'E' then
            value, answer = 'P' .. due .. sub(record, 18), 'O'
          else
            value = 'X' .. sub(record, 2, 97) .. format('%16d', #op - 32) .. sub(op, 33) .. sub(record, 98)
            answer = 'O'
          end
        end

      elseif kind == 'R' then
        -- Without a fence the token alone decides: its owner never heard of the
        -- grant.
        local unheard = sub(op, 1, 16) == ZERO
        local mine = (state == 'P' or state == 'R') and (sub(record, 50, 81) == sub(op, 1, 32)
          or unheard and sub(record, 66, 81) == sub(op, 17, 32))
        if state == '' then
          -- For claim.TombstoneTTL.
          value = 'R' .. due .. sub(op, 33, 48) .. '       600000000' .. sub(op, 1, 32) .. NONE .. sub(op, 49)
          px, answer = millis(term + 600000000), 'O'
        elseif not mine then
          answer = 'L'
        elseif state == 'R' then
          answer = 'O'
        else
          local attempt, retention = tonumber(sub(record, 18, 33)), tonumber(sub(record, 34, 49))
          if attempt and retention then
            if unheard then attempt = max(0, attempt - 1) end
            value = 'R' .. due .. format('%16d', attempt) .. sub(record, 34)
            px, answer = millis(term + retention), 'O'
          else
            answer = 'B'
          end
        end

      else
        -- Forget and Revive name the state and the fence that the operator saw.
        local fence, shown
        if state == '0' then
          fence, shown = format('%16s', record), 'D'
        elseif state == 'D' then
          fence, shown = sub(record, 2, 17), 'D'
        elseif state ~= '' then
          fence, shown = sub(record, 50, 65), sub(record, 1, 1)
        end
        local seen, same = sub(op, 17, 17), fence == sub(op, 1, 16)
        if state == '' then
          answer = kind == 'F' and 'O' or 'L'
        elseif kind == 'F' then
          answer = 'L'
          if same and shown == seen then
            local reply
            if lookup or place then
              reply = command('DEL', name)
            else
              reply = command('SET', name, 'F', 'PX', LEAST)
            end
            if type(reply) == 'table' and reply.err then refusal = reply else answer = 'O' end
          end
        elseif not same or shown ~= seen or state == 'P' and now < (tonumber(sub(record, 2, 17)) or 0) then
          -- Revived before: the first reply was lost. Only what was done is released
          -- without a token, and its fence may have changed.
          answer = 'L'
          if state == 'R' and sub(record, 18, 33) == ZERO
            and (same or seen == 'D' and sub(record, 66, 81) == NONE) then answer = 'O' end
        else
          local remaining, token, known = left or command('PTTL', name), NONE, NONE
          if type(remaining) == 'table' then
            refusal = remaining
          elseif remaining < 0 then
            answer = 'B'
          else
            if not left then remaining = max(1, remaining * 1000) end
            if shown == 'D' then
              if (tonumber(fence) or 0) < now then fence = NOW end
              if state == 'D' then known = sub(record, 18, 33) end
            else
              -- The token stays, so that a late copy of the old claim is Stale.
              token, known = sub(record, 66, 81), sub(record, 82, 97)
            end
            value = 'R' .. NOW .. ZERO .. format('%16d', remaining) .. fence .. token .. known .. sub(op, 18)
            px, answer = format('%d', math.ceil(remaining / 1000)), 'O'
          end
        end
      end

      if value then
        if px then reply = command('SET', name, value, 'PX', px) else reply = command('SET', name, value, 'KEEPTTL') end
        if reply.err then refusal = reply end
      end
      if left and answer == 'O' and (kind == 'F' or kind == 'V') and not refusal then
        -- Until here the marker or the bit has decided.
        local problem
        if unset then problem = unset(key) end
        if unmark and not problem then problem = unmark(name) end
        if problem == 'B' then answer = 'B' else refusal = problem end
      end
    elseif reply and reply.err then
      refusal = reply
    end

    if refusal then
      local message = refusal.err
      -- go-redis leaves a server that was demoted when it sees READONLY, and only
      -- then. A server that refuses one write for it has refused all before.
      if sub(message, 1, 8) == 'READONLY' then return refusal end
      answer = 'E' .. format('%16d', #message) .. message
    end
    answers[key + shift] = answer
  end
  if done then command(unpack(done)) end
end

return table.concat(answers)
