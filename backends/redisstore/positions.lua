-- Positions that are done, as bits. This text stands before state.lua and read.lua.
--
-- A record of a key with a place stands under its own name, as any other. When it is
-- done and has nothing else to keep, the bit of its place is set, and the record is
-- deleted. Where there is none, or a claim that is not running, the bit decides. So
-- MarkDone sets the bit and then deletes the record; if the second is refused, it
-- has happened all the same.
--
--   prefix 'B' digest number    a chunk: 'B', then a bit for each of 8,000 positions
--
-- The digest is that of namespace, consumer and log; the number, 8 bytes, is that of
-- the chunk in the log. A chunk is made with all of its bits, which takes the memory
-- of as many and no more. It ends as a whole, when the last of its positions may.
--
-- text     what Go says of the call: Y, or Z where bits are read and none are set; the
--          number of chunks; and for each operation its chunk, counted from one, or 0
--          for an operation without a place, and its bit. All are two bytes. The
--          chunks are the last of KEYS.
-- before   how many of KEYS stand before those of the operations
-- returns  the last of KEYS that is no chunk, and four functions of the place of an
--          operation in KEYS:
--          clear(key)      whether it has no bit, or one that is not set
--          lookup(key)     0 in place of a stamp, and the microseconds left, or nothing
--          mark(key, kept) sets the bit; true, or nothing when there is none to set
--          unmark(key)     clears it
--          Each but the first returns last what kept it from its work: an error
--          reply, or B for what is no chunk.

local function positions(text, before)
  local command, type, max = redis.pcall, type, math.max
  local floor, ceil, sub, byte = math.floor, math.ceil, string.sub, string.byte
  local BITS, BYTES = 8000, 1001
  local high, low = byte(text, 2, 3)
  local last = #KEYS - 256 * high - low
  local writes = sub(text, 1, 1) == 'Y'
  local chunks = {}

  local function fault(reply)
    if sub(reply.err, 1, 9) == 'WRONGTYPE' then return 'B' end
    return reply
  end

  -- The chunk of an operation, as it was when the call met it first, and the bit.
  -- At its bits the chunk has what became of them since.
  local function at(key)
    local cell = 4 * (key - before)
    local a, b, c, d = byte(text, cell, cell + 3)
    local index = 256 * a + b
    if index == 0 then return nil end
    local chunk = chunks[index]
    if not chunk then
      chunk = {name = KEYS[last + index]}
      chunks[index] = chunk
      local value = command('GET', chunk.name)
      if type(value) == 'table' then
        chunk.problem = fault(value)
      elseif value and (#value ~= BYTES or byte(value) ~= 66) then
        chunk.problem = 'B'
      else
        chunk.value = value
      end
    end
    return chunk, 256 * c + d
  end

  local function set(chunk, bit)
    if chunk[bit] ~= nil then return chunk[bit] end
    if not chunk.value then return false end
    local eight = byte(chunk.value, 2 + floor(bit / 8))
    return eight > 0 and floor(eight / 2 ^ (7 - bit % 8)) % 2 == 1
  end

  -- The milliseconds that the chunk has to live. Ours have an end.
  local function left(chunk)
    if not chunk.left then
      local reply = command('PTTL', chunk.name)
      if type(reply) == 'table' then return nil, fault(reply) end
      if reply < 0 then return nil, 'B' end
      chunk.left = reply
    end
    return chunk.left
  end

  local function clear(key)
    local chunk, bit = at(key)
    return not chunk or not chunk.problem and not set(chunk, bit)
  end

  local function lookup(key)
    local chunk, bit = at(key)
    if not chunk then return nil end
    if chunk.problem then return nil, nil, chunk.problem end
    if not set(chunk, bit) then return nil end
    local millis, problem = left(chunk)
    if problem then return nil, nil, problem end
    return '0', max(1, millis * 1000)
  end

  local function write(chunk, bit, value)
    local reply = command('SETBIT', chunk.name, bit + 8, value)
    if type(reply) == 'table' then return fault(reply) end
    chunk[bit] = value == '1'
  end

  local function mark(key, kept)
    local chunk, bit = at(key)
    if not chunk or not writes then return nil end
    if chunk.problem then return true, chunk.problem end
    local life = ceil(kept / 1000)
    if not chunk.value then
      local value = 'B' .. string.rep('\0', BITS / 8)
      local reply = command('SET', chunk.name, value, 'PX', life)
      if reply.err then return true, reply end
      chunk.value, chunk.left = value, life
    end
    local millis, problem = left(chunk)
    if problem then return true, problem end
    local was = set(chunk, bit)
    problem = write(chunk, bit, '1')
    if not problem and millis < life then
      -- A full server refuses no write after one that it let pass, and lets this pass.
      local reply = command('PEXPIRE', chunk.name, life)
      if type(reply) == 'table' then
        if not was then write(chunk, bit, '0') end
        return true, reply
      end
      chunk.left = life
    end
    return true, problem
  end

  local function unmark(key)
    local chunk, bit = at(key)
    if not chunk then return nil end
    if chunk.problem then return chunk.problem end
    if set(chunk, bit) then return write(chunk, bit, '0') end
  end

  return last, clear, lookup, mark, unmark
end
