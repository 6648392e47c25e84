package redisstore_test

import (
	"os"
	"testing"

	"github.com/oncebus/once/backends/redisstore"
)

// A comparison with the model is worth what it finds. Each of these is a script
// with one mistake that somebody could make, and TestStateAgainstStep must see
// it.
func TestStateAgainstStepFindsMistakes(t *testing.T) {
	if os.Getenv("ONCE_MUTANTS") == "" {
		t.Skip("a test of a test, of a minute or two; set ONCE_MUTANTS=1 to run it")
	}
	mutants := []struct {
		name, piece, replacement string
		// from is the round to begin with: mistakes that show in few rounds show
		// soon after it.
		from int
	}{
		{"claim without a comparison of tokens", "local mine = sub(record, 2, 17) == sub(op, 2, 17)", "local mine = false", 0},
		{"repeated claim of a lease that is over", "if mine then return 'S' end\n      if state", "if state", 0},
		{"claim of a key released by the same token", "if state == 'R' and mine then return 'S' end", "if state == 'R' and mine then return 'P' .. sub(record, 34, 49) end", 0},
		{"lease judged a moment late", "if now < deadline then\n", "if now <= deadline then\n", 0},
		{"retention left to Redis", "if state ~= 'X' and now >= deadline + retention then", "if false then", 70},
		{"takeover that keeps the fence", "if fence >= now then granted = format('%16d', fence + 1) end", "if fence > 0 then granted = format('%16d', fence) end", 0},
		{"fence that may stand still", "if fence >= now then granted", "if fence > now then granted", 70},
		{"claim on the terms of the one before", "if state ~= '' or terms ~= sub(op, 18, 65) then", "if state ~= '' or not terms then", 0},
		{"life of the record before", "if micros ~= life then", "if not life then", 0},
		{"one attempt too many", "attempt >= limit", "attempt > limit", 0},
		{"attempts that are not counted", "now + ttl, attempt + 1", "now + ttl, 1", 0},
		{"Park that takes over", "if state == 'P' and kind == 'K'", "if false", 0},
		{"Park that holds released keys", "if state == 'P' and kind == 'K'", "if kind == 'K'", 0},
		{"takeover that is not told", "(state == 'P' and 'T' or 'C')", "'C'", 0},
		{"fingerprint that is not compared", "if wanted ~= fingerprint and wanted ~= NONE and fingerprint ~= NONE then return 'M' end", "", 0},
		{"fingerprint that is lost at a takeover", "if wanted ~= fingerprint and wanted == NONE then", "if false then", 0},
		{"fingerprint that is lost at the end", "if flags == '0' and fingerprint == NONE then", "if flags == '0' then", 20},
		{"completion by anybody", "elseif state ~= 'P' or not mine then", "elseif state ~= 'P' then", 0},
		{"completion of what is done", "if state ~= 'D' or sub(record, 2, 17) ~= sub(op, 18, 33) then return 'L' end", "if state ~= 'D' then return 'L' end", 0},
		{"recovery that is forgotten", "format('%d', flags + 2), 'R'", "flags, 'R'", 0},
		{"recovery that is not told again", "find(record, '^[2367]', 34) and 'R' or 'O'", "'O'", 0},
		{"heartbeat by anybody", "if state ~= 'P' or not mine then return 'L' end\n    local ttl", "if state ~= 'P' then return 'L' end\n    local ttl", 0},
		{"heartbeat that shortens the record", "sub(record, 50), ttl + retention, 'O')", "sub(record, 50), ttl, 'O')", 0},
		{"release by anybody", "if not mine or state == 'X' then return 'L' end", "if not open or state == 'X' then return 'L' end", 0},
		{"release of a dead key", "if not mine or state == 'X' then return 'L' end", "if not mine then return 'L' end", 0},
		{"release that ignores the fence", "mine = mine or open and sub(op, 18, 33) == ZERO", "mine = mine or open", 0},
		{"release without a fence that keeps the attempt", "max(0, attempt - 1)", "attempt", 0},
		{"release that leaves no tombstone", "if state == '' then\n      -- claim.TombstoneTTL.", "if state == '' then return 'O' end\n    if false then", 0},
		{"release without its delay", "format('%16d', now + delay) .. attempt ..", "NOW .. attempt ..", 0},
		{"death by anybody", "if state ~= 'P' or not mine then return 'L' end\n    local reason", "if state ~= 'P' then return 'L' end\n    local reason", 0},
		{"death of the dead is lost", "if state == 'X' and mine then return 'O' end", "", 0},
		{"forgetting another's record", "if shown ~= sub(op, 2, 2) or fence ~= sub(op, 18, 33) then return 'L' end", "", 0},
		{"forgetting what was not seen", "if shown ~= sub(op, 2, 2) or fence ~= sub(op, 18, 33) then return 'L' end", "if fence ~= sub(op, 18, 33) then return 'L' end", 0},
		{"revival of what was not seen", "if shown ~= sub(op, 2, 2) or state == 'P' and now < deadline then", "if state == 'P' and now < deadline then", 0},
		{"revival that is lost when repeated", "if state == 'R' and sub(record, 50, 65) == ZERO then return 'O' end", "", 0},
		{"revival of a running key", "or state == 'P' and now < deadline then\n      -- Revived", "then\n      -- Revived", 0},
		{"revival that lengthens the record", "left = max(1, left * 1000)", "left = max(1, left * 2000)", 0},
		{"revival that keeps the attempts", "format('%16d%16d', 0, left)", "format('%16d%16d', 1, left)", 0},
		{"revival that loses the fence", "'R' .. token .. fence .. NOW", "'R' .. token .. '               1' .. NOW", 0},
		{"revival that loses the token", "(state == 'D' or state == 'F') and NONE or sub(record, 2, 17)", "NONE", 0},
		{"revival that loses the fingerprint", "left) .. fingerprint .. sub(op, 34)", "left) .. NONE .. sub(op, 34)", 0},
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			redisstore.UseMutant(t, m.piece, m.replacement)
			d := newDuel(t)
			for round := m.from; round < m.from+200; round++ {
				if err := d.fight(randomScript(round)); err != nil {
					t.Logf("found in round %d: %.300v", round, err)
					return
				}
			}
			t.Fatal("not found")
		})
	}
}
