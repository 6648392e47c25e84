package redisstore_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/oncebus/once/backends/redisstore"
)

// mutant is a script with a mistake.
type mutant struct {
	name, piece, replacement string
	// from is the round to begin with: mistakes that show in few rounds show
	// soon after it.
	from int
}

// A comparison with the model is worth what it finds. Each of these is a script
// with one mistake that somebody could make, and TestStateAgainstStep must see
// it. ONCE_MUTANTS=4 tries one in four, by chance; of the others it is only seen
// that the script still has the place.
func TestStateAgainstStepFindsMistakes(t *testing.T) {
	oneIn, err := strconv.Atoi(os.Getenv("ONCE_MUTANTS"))
	if err != nil || oneIn < 1 {
		t.Skip("a test of a test, of a minute or two; set ONCE_MUTANTS=1 to run it")
	}
	mutants := []mutant{
		{"claim without a comparison of tokens", "local mine = sub(record, 66, 81) == sub(op, 1, 16)", "local mine = false", 0},
		{"repeated claim of a lease that is over", "elseif mine then\n              answer = 'S'", "elseif mine and state == 'R' then\n              answer = 'S'", 0},
		{"claim of a key released by the same token", "elseif now < deadline and state == 'P' then", "elseif now < deadline then", 0},
		{"lease judged a moment late", "elseif now < deadline and not mine then", "elseif now <= deadline and not mine then", 0},
		{"takeover that keeps the fence", "grant .. format('%16d', fence + 1)", "grant .. format('%16d', fence)", 0},
		{"fence that may stand still", "if fence >= now then grant", "if fence > now then grant", 0},
		{"claim of a key that is not looked at", "fresh .. op, 'NX', 'GET', 'PX', life", "fresh .. op, 'GET', 'PX', life", 0},
		{"life of the record before", "if retention ~= same and tonumber(retention) then", "if not same and tonumber(retention) then", 200},
		{"life of the operation before", "local state, px, value = '', life, nil", "local state, value = '', nil", 0},
		{"one attempt too many", "attempt >= limit", "attempt > limit", 0},
		{"attempts that are not counted", "now + term, attempt + 1", "now + term, 1", 0},
		{"Park that takes over", "elseif state == 'P' and kind == 'K' then", "elseif false then", 0},
		{"Park that holds released keys", "elseif state == 'P' and kind == 'K' then", "elseif kind == 'K' then", 0},
		{"takeover that is not told", "(state == 'P' and 'T' or 'C')", "'C'", 0},
		{"fingerprint that is not compared", "if wanted ~= known and wanted ~= NONE and known ~= NONE then", "if false then", 0},
		{"fingerprint that is lost at a takeover", "if wanted ~= NONE then known = wanted end", "known = wanted", 0},
		{"fingerprint that is lost at the end", "if flags == '0' and known == NONE and", "if flags == '0' and", 0},
		{"completion by anybody", "if state == 'P' and sub(record, 50, 81) == sub(op, 1, 32) then\n          known", "if state == 'P' then\n          known", 0},
		{"completion by anybody with nothing to keep", "and find(record, op, 34, true) == 34 then\n          answer", "then\n          answer", 0},
		{"completion that does not put back what it was not meant for", "reply = command('SET', name, record, 'KEEPTTL')", "reply = {}", 0},
		{"completion that puts it back for ever", "reply = command('SET', name, record, 'KEEPTTL')", "reply = command('SET', name, record)", 0},
		{"completion that keeps an end that comes too soon", "or now > (tonumber(sub(record, 2, 17)) or 0) then", "then", 0},
		{"completion that keeps the end of another retention", "if find(record, kept, 18, true) ~= 18 or now", "if now", 0},
		{"completion that cuts the rest of the lease", "if sub(record, 34, 49) == kept and now <= deadline then", "if false then", 0},
		{"completion by another of what is done", "elseif state == 'D' and sub(record, 2, 17) == sub(op, 1, 16) then", "elseif state == 'D' then", 0},
		{"completion by another of what is done and bare", "elseif state == '0' and (record == stamp or record == '0' or format('%16s', record) == sub(op, 1, 16)) then", "elseif state == '0' then", 90},
		{"repeated completion of what is done and bare", "(record == stamp or record", "(false or record", 0},
		{"stamp of another", "local i = 46 + 4 * (key - before)\n      local stamp", "local i = 46\n      local stamp", 0},
		{"stamp in place of a fence ahead of the clock", "and (tonumber(sub(op, 1, 16)) or 0) <= now then", "then", 700},
		{"recovery that is forgotten", "format('%d', flags + 2)", "flags", 0},
		{"recovery that is not told again", "find(record, '^[2367]', 34) and 'R' or 'O'", "'O'", 0},
		{"heartbeat and death by anybody", "(state == 'P' or state == 'X') and sub(record, 50, 81) == sub(op, 1, 32)", "(state == 'P' or state == 'X')", 0},
		{"heartbeat of the dead", "elseif not mine or state == 'X' then", "elseif not mine then", 0},
		{"heartbeat that shortens the record", "millis((term or 0) + tonumber(retention))", "millis(term or tonumber(retention))", 0},
		{"death of the dead is lost", "if kind == 'X' and mine and state == 'X' then", "if false then", 0},
		{"release by anybody", "(sub(record, 50, 81) == sub(op, 1, 32)\n          or unheard", "(true\n          or unheard", 0},
		{"release that ignores the fence", "or unheard and sub(record, 66, 81)", "or sub(record, 66, 81)", 0},
		{"release of a dead key", "local mine = (state == 'P' or state == 'R') and", "local mine = (state == 'P' or state == 'R' or state == 'X') and", 0},
		{"release without a fence that keeps the attempt", "if unheard then attempt = max(0, attempt - 1) end", "", 0},
		{"release that leaves no tombstone", "if state == '' then\n          -- For claim.TombstoneTTL.", "if state == '' then\n          answer = 'O'\n        elseif false then", 0},
		{"release without its delay", "value = 'R' .. due .. format('%16d', attempt)", "value = 'R' .. NOW .. format('%16d', attempt)", 0},
		{"forgetting another's record", "if same and shown == seen then", "if shown == seen then", 0},
		{"forgetting what was not seen", "if same and shown == seen then", "if same then", 0},
		{"revival of what was not seen", "elseif not same or shown ~= seen or state == 'P'", "elseif not same or state == 'P'", 0},
		{"revival of another's record", "elseif not same or shown ~= seen or", "elseif shown ~= seen or", 0},
		{"revival of a running key", "or state == 'P' and now < (tonumber(sub(record, 2, 17)) or 0) then", "then", 0},
		{"revival that is lost when repeated", "and (same or seen == 'D' and sub(record, 66, 81) == NONE) then", "and false then", 0},
		{"revival of what was done that is lost when repeated", "and (same or seen == 'D' and sub(record, 66, 81) == NONE) then", "and same then", 0},
		{"revival of what was done that is repeated by anybody", "and (same or seen == 'D' and sub(record, 66, 81) == NONE) then", "and (same or seen == 'D') then", 300},
		{"revival of what was done with its stamp for a fence", "if (tonumber(fence) or 0) < now then fence = NOW end", "", 0},
		{"revival that lengthens the record", "remaining = max(1, remaining * 1000)", "remaining = max(1, remaining * 2000)", 0},
		{"revival that keeps the attempts", "value = 'R' .. NOW .. ZERO", "value = 'R' .. NOW .. '               1'", 0},
		{"revival that loses the fence", "format('%16d', remaining) .. fence .. token", "format('%16d', remaining) .. '               1' .. token", 0},
		{"revival that loses the token", "token, known = sub(record, 66, 81), sub(record, 82, 97)", "known = sub(record, 82, 97)", 0},
		{"revival that loses the fingerprint", "token, known = sub(record, 66, 81), sub(record, 82, 97)", "token = sub(record, 66, 81)", 0},
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.mustBeFound(t, "plain", oneIn) })
	}
	packed := []mutant{
		{"absent without a look at the marker", "(state == '' or (state == 'P'", "(false or (state == 'P'", 0},
		{"marker that lasts a moment longer", "if left > 0 then return", "if left >= 0 then return", 0},
		{"marker of the generation before", "now < newer + retention", "now < newer", 0},
		{"marker of any owner", "'%d%s', units, stamp", "'%d%s', units, '1234'", 0},
		{"marker that nothing forgets", "if unmark and not problem then problem = unmark(name) end", "", 0},
		{"marker beside the record", "\n                done[#done + 1] = name", "\n                done[#done + 1] = ''", 0},
		{"marker that ends with its generation", "ceil((now + min(kept, g.retention) - g.start) / g.unit)", "ceil((g.close - g.start) / g.unit)", 0},
	}
	for _, m := range packed {
		t.Run(m.name, func(t *testing.T) { m.mustBeFound(t, "packed", oneIn) })
	}
	two := []mutant{
		{"short completion by anybody", "at and find(record, owner, at + 16, true) == at + 16 and", "at and", 0},
		{"short completion that does not put back what it was not meant for", "      command('SET', name, record, 'KEEPTTL')\n    end\n  end\n  answers", "    end\n  end\n  answers", 0},
		{"short completion that puts it back for ever", "      command('SET', name, record, 'KEEPTTL')\n    end\n  end\n  answers", "      command('SET', name, record)\n    end\n  end\n  answers", 0},
		{"short completion that keeps an end that comes too soon", "\n      and now <= sub(record, 2, 17) then", " then", 0},
		{"short completion that keeps the end of another retention", "and find(record, kept, at, true) == at\n", "\n", 0},
		{"short completion that loses the fingerprint", "#record > 97 and find(record, NONE, 82, true) == 82 then", "#record > 97 then", 0},
		{"stamp of the short completion in place of a fence ahead of the clock", "sub(head, 34, 49) <= now", "true", 700},
	}
	for _, m := range two {
		t.Run(m.name, func(t *testing.T) { m.mustBeFound(t, byTwo, oneIn) })
	}
	places := []mutant{
		{"absent without a look at the bit", "(not clear or clear(key))", "true", 0},
		{"bit of the neighbour", "bit + 8, value", "bit + 9, value", 0},
		{"bit in the wrong order", "2 ^ (7 - bit % 8)", "2 ^ (bit % 8)", 0},
		{"bit that nothing forgets", "if unset then problem = unset(key) end", "", 560},
		{"bit that is forgotten in the same call", "chunk[bit] = value == '1'", "", 0},
		{"bit beside the record", "\n            done[#done + 1] = name", "\n            done[#done + 1] = ''", 0},
		{"bit that ends before what the claim gave", "lasting = deadline + term - now end\n        local marked", "end\n        local marked", 0},
		{"bits that end with the first", "if not problem and millis < life then", "if false then", 0},
		{"bits that end with the last", "millis < life then", "true then", 0},
		{"completion of a bit by its owner alone", "record == '0' or", "", 0},
		{"place beside what has more to keep", "if flags == '0' and known == NONE and", "if flags == '0' and", 0},
	}
	for _, m := range places {
		t.Run(m.name, func(t *testing.T) { m.mustBeFound(t, "places", oneIn) })
	}
}

func (m mutant) mustBeFound(t *testing.T, layout string, oneIn int) {
	redisstore.LetRecordsBeShort(t)
	redisstore.UseMutant(t, m.piece, m.replacement)
	if rand.IntN(oneIn) > 0 {
		t.Skip("not this time")
	}
	d := newDuel(t, layout)
	for round := m.from; round < m.from+200; round++ {
		if err := d.fight(randomScript(round)); err != nil {
			t.Logf("found in round %d: %.300v", round, err)
			return
		}
	}
	t.Fatal("not found")
}
