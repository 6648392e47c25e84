-- Markers of the packed layout: what is done and has nothing else to keep, as a
-- field of a hash. This text stands before state.lua and the scripts that read.
--
-- A record of one of the other kinds stands under its own key in either layout.
-- A done one without anything to keep becomes a marker, and the key is deleted.
-- Where the key is absent, or holds a claim that is not running, a marker decides.
-- So MarkDone writes the marker and then deletes the record; if the second is
-- refused, it has happened all the same.
--
--   prefix digest                                    a record
--   prefix generation digest[1] bucket               a bucket: digest[2..16] -> marker
--   prefix 'layout'                                  the generations
--
-- A generation is named by its first millisecond, in 12 hexadecimal digits. It
-- takes markers for its length and keeps each for at most its retention; its
-- buckets, count for each value of the digest's first byte, are gone after both.
-- A bucket is two bytes, the place of digest[2..4] among the count. A marker is a
-- decimal number: the stamp of the owner's token, and above its four digits the
-- end of the retention, in units from the beginning of the generation. A unit is
-- 1/200000 of the life of the generation, at least a microsecond.
--
-- The layout record says which generations there are, so that all programs agree:
-- an L, then for each, the newest first, four cells: start length retention count.
-- Whoever is first to write a marker when the newest has had its length begins the
-- next, with as many buckets as the one before needed; and whoever fills a bucket,
-- so that no hash outgrows the encoding for small ones. A lookup asks every
-- generation that can hold a marker that is alive, the newest first.
--
-- head     what Go says of its options: G, or H where slots of keys may be on the
--          move, and three cells: count, retention, length. A count of zero:
--          no markers are written.
-- returns  lookup(key)             the stamp and the microseconds left, or nothing
--          mark(key, least, kept, stamp)
--                                  writes one, for kept or what a generation keeps
--                                  markers, if that is less and not less than least
--          unmark(key)             removes it
--          contents(bucket)        its markers that are alive: digest, stamp (0: it is
--                                  no marker), left, ...
--          Each returns last what kept it from its work: an error reply, or B for
--          what is no layout record, no bucket or no marker of this version.

local function markers(now, head)
  local command, tonumber, type, max, min = redis.pcall, tonumber, type, math.max, math.min
  local floor, ceil = math.floor, math.ceil
  local sub, byte, char, find, format = string.sub, string.byte, string.char, string.find, string.format
  -- How many a bucket is to hold at the end of its generation: more would take less
  -- memory and more time. A bucket that has the second number is full.
  local WANTED, FULL = 64, 128
  local layout = KEYS[1]
  local prefix = sub(layout, 1, -7)
  local generations, problem = {}, nil
  local moving = sub(head, 1, 1) == 'H'

  local function fault(reply)
    if sub(reply.err, 1, 9) == 'WRONGTYPE' then return 'B' end
    return reply
  end

  local function generation(start, length, retention, count)
    return {
      start = start, close = start + length, retention = retention, count = count,
      cells = format('%16d%16d%16d%16d', start, length, retention, count),
      stem = prefix .. format('%012x', floor(start / 1000)),
      unit = ceil((length + retention) / 200000),
      gone = format('%d', ceil((start + length + retention) / 1000)),
    }
  end

  local text = command('GET', layout)
  if type(text) == 'table' then
    problem = fault(text)
  elseif text then
    if #text % 64 ~= 1 or not find(text, '^L[ %d]+$') then problem = 'B' end
    local newer
    for at = 2, problem and 0 or #text, 64 do
      local start, length = tonumber(sub(text, at, at + 15)), tonumber(sub(text, at + 16, at + 31))
      local retention, count = tonumber(sub(text, at + 32, at + 47)), tonumber(sub(text, at + 48, at + 63))
      if not (start and length and retention and count) or length < 1 or count < 1 or count > 65536 then
        problem = 'B'
        break
      end
      -- Nothing was written to it after the next one began.
      if not newer or now < newer + retention then
        generations[#generations + 1] = generation(start, length, retention, count)
      end
      newer = start
    end
  end

  -- The place of a digest among the buckets of a generation, from 0 up to 1.
  local function place(name)
    local a, b, c = byte(name, -15, -13)
    return (a * 65536 + b * 256 + c) / 16777216
  end

  -- What the bucket at a place is called behind the name of its generation.
  local function tail(name, at, count)
    local index = floor(at * count)
    return sub(name, -16, -16) .. char(floor(index / 256), index % 256)
  end

  -- While a slot moves from one node to another, what is not here may be there.
  -- A node refuses a command on two keys of such a slot unless it has both.
  local function elsewhere(name)
    if not moving then return nil end
    local keys, at = {layout, name}, place(name)
    for i = 1, #generations do
      local g = generations[i]
      keys[#keys + 1] = g.stem .. tail(name, at, g.count)
    end
    local reply = command('EXISTS', unpack(keys))
    return type(reply) == 'table' and fault(reply) or nil
  end

  -- Nothing of a marker that has ended. The end was rounded up to a unit; what is
  -- told to be left is not more than was asked for.
  local function read(g, value)
    if #value > 10 or not find(value, '^%d+$') then return nil, nil, 'B' end
    value = tonumber(value)
    local stamp = value % 10000
    if stamp < 1000 then return nil, nil, 'B' end
    local left = g.start + (value - stamp) / 10000 * g.unit - now
    if left > 0 then return format('%d', stamp), max(1, left - g.unit + 1) end
  end

  local function lookup(name)
    if problem then return nil, nil, problem end
    local moved = elsewhere(name)
    if moved then return nil, nil, moved end
    local at, field, behind, count = place(name), sub(name, -15), nil, nil
    for i = 1, #generations do
      local g = generations[i]
      if g.count ~= count then
        count = g.count
        behind = tail(name, at, count)
      end
      local value = command('HGET', g.stem .. behind, field)
      if type(value) == 'table' then return nil, nil, fault(value) end
      if value then
        local stamp, left, corrupt = read(g, value)
        if stamp or corrupt then return stamp, left, corrupt end
      end
    end
  end

  -- Begins a generation. Of one that is full before its time it makes sure first
  -- that more than this one bucket is.
  local function begin(name, full)
    local count, retention, length = tonumber(sub(head, 2, 17)), tonumber(sub(head, 18, 33)), tonumber(sub(head, 34, 49))
    local last, start = generations[1], now
    if last then
      local sum = 0
      for i = 0, 15 do
        local size = command('HLEN', last.stem .. tail(name, i / 16, last.count))
        if type(size) == 'number' then sum = sum + size end
      end
      local share = min(1, max(0.05, (now - last.start) / (last.close - last.start)))
      local needed = ceil(last.count * sum / 16 / WANTED / share * length / (last.close - last.start))
      if full and needed <= last.count then return nil end
      count, start = min(65536, max(count, needed)), max(now, last.start + 1000)
    end
    local g = generation(start, length, retention, count)
    local record, life = 'L' .. g.cells, retention
    for i = 1, #generations do
      record, life = record .. generations[i].cells, max(life, generations[i].retention)
    end
    local reply = command('SET', layout, record, 'PX', format('%d', ceil((g.close - now + life) / 1000)))
    if reply.err then return reply end
    table.insert(generations, 1, g)
  end

  local function mark(name, least, kept, stamp)
    local refused = problem or elsewhere(name)
    if refused then return refused end
    local g = generations[1]
    if not g or now >= g.close or least > g.retention then
      refused = begin(name)
      if refused then return refused end
      g = generations[1]
    end
    local hash, field = g.stem .. tail(name, place(name), g.count), sub(name, -15)
    local units = max(0, ceil((now + min(kept, g.retention) - g.start) / g.unit))
    local reply = command('HSET', hash, field, format('%d%s', units, stamp))
    if type(reply) == 'table' then return fault(reply) end
    local size = command('HLEN', hash)
    if type(size) == 'table' or size == 1 then
      reply = command('PEXPIREAT', hash, g.gone)
      if type(reply) == 'table' then
        command('HDEL', hash, field) -- ours have an end
        return reply
      end
    elseif size >= FULL then
      begin(name, true) -- if that is refused, the bucket is only large
    end
  end

  local function unmark(name)
    local at, field = place(name), sub(name, -15)
    for i = 1, #generations do
      local g = generations[i]
      local reply = command('HDEL', g.stem .. tail(name, at, g.count), field)
      if type(reply) == 'table' then return fault(reply) end
    end
  end

  local function contents(name)
    local list = {}
    if problem then return list, problem end
    for i = 1, #generations do
      local g = generations[i]
      if g.stem == sub(name, 1, -4) then
        local flat = command('HGETALL', name)
        if flat.err then return list, fault(flat) end
        for j = 1, #flat, 2 do
          local stamp, left, corrupt = read(g, flat[j + 1])
          if #flat[j] ~= 15 then corrupt = 'B' end
          if corrupt or stamp then
            list[#list + 1] = sub(name, -3, -3) .. flat[j]
            list[#list + 1] = corrupt and 0 or tonumber(stamp)
            list[#list + 1] = corrupt and 0 or left
          end
        end
      end
    end
    return list
  end

  return lookup, mark, unmark, contents
end
