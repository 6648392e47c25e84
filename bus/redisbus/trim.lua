-- Removes entries that every group has been given and has settled, in whole nodes
-- of the stream, so that some stay. Without a group it removes nothing.
--
-- KEYS[1]  stream
-- returns  how many were removed

-- before compares ids as numbers, which may be larger than Lua's are exact.
local function before(a, b)
  local ams, aseq = a:match('^(%d+)-(%d+)$')
  local bms, bseq = b:match('^(%d+)-(%d+)$')
  if ams == bms then ams, bms = aseq, bseq end
  if #ams ~= #bms then return #ams < #bms end
  return ams < bms
end

local lowest
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  local id = info['last-delivered-id']
  if info['pending'] > 0 then
    local first = redis.call('XPENDING', KEYS[1], info['name'])[2]
    if before(first, id) then id = first end
  end
  if not lowest or before(id, lowest) then lowest = id end
end
if not lowest then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', lowest)
