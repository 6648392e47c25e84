package sequences

// named are sequences that every store plays first: each found a mistake, in a
// store or in a mutant of one, and stands here as short as it came. A sequence
// that finds another one belongs here.
var named = []struct {
	name string
	// why is the rule that it is about, printed on failure.
	why  string
	text string
}{
	{
		"claim repeated",
		"a claim whose reply was lost is answered Claimed again, with the same grant and what is left of the lease",
		`
			claim a 1 ttl=2u keep=3u
			advance 1u
			claim a 1 ttl=2u keep=3u
			advance 1u-1ms
			again 1
			advance 1ms
			again 1
		`,
	}, {
		"claim after its release",
		"a copy of a claim that lands after the claim was given back is Stale; another token is Claimed",
		`
			claim a 1 ttl=2u keep=3u
			release a 1 delay=0
			again 2
			claim a 2 ttl=2u keep=3u
		`,
	}, {
		"release before its claim",
		"a release that overtakes its claim keeps it from landing, with a fence and without",
		`
			release a 1 fence=zero delay=0
			claim a 1 ttl=2u keep=3u
			release b 1 delay=0
			claim b 1 ttl=2u keep=3u
			claim b 2 ttl=2u keep=3u max=1
		`,
	}, {
		"release by a stranger without a fence",
		"without a fence the token decides",
		`
			claim a 1 ttl=2u keep=3u
			release a 2 fence=zero delay=0
			release a 1 fence=zero delay=0
			claim a 2 ttl=2u keep=3u
		`,
	}, {
		"release repeated later",
		"a release that is sent again does not start its delay again, nor lengthen the record",
		`
			claim a 1 ttl=2u keep=3u
			release a 1 delay=1u
			advance 1u
			again 1
			claim a 2 ttl=2u keep=3u
		`,
	}, {
		"takeover",
		"a takeover says so, counts the attempt and raises the fence; what the first owner still sends is lost",
		`
			claim a 1 ttl=1u keep=3u
			advance 1u
			claim a 2 ttl=3u keep=3u
			extend a 1 ttl=2u
			done a 1 keep=3u
			release a 1 delay=0
			dead a 1 reason="late"
			claim a 1 ttl=1u keep=3u
		`,
	}, {
		"token of one with the fence of another",
		"a claim is its owner's by token and fence together",
		`
			claim a 1 ttl=2u keep=3u
			extend a 2 fence=current ttl=2u
			extend a 1 fence=next ttl=2u
			done a 2 fence=current keep=3u
			dead a 1 fence=prev reason="guess"
		`,
	}, {
		"token that is granted twice",
		"a late copy of a claim may be granted anew when another owner gave the key back; the old grant is lost all the same",
		`
			claim a 1 ttl=1u keep=3u
			advance 1u
			claim a 2 ttl=2u keep=3u
			release a 2 delay=0
			again 3
			done a 1 fence=prev keep=3u
			done a 1 keep=3u
		`,
	}, {
		"late commit",
		"a completion after the lease is accepted while nobody took the key",
		`
			claim a 1 ttl=1u keep=3u
			advance 2u
			done a 1 keep=3u result="r"
			claim a 2 ttl=1u keep=3u
		`,
	}, {
		"late extension",
		"an extension after the lease is accepted while nobody took the key, and keeps the record as much longer",
		`
			claim a 1 ttl=1u keep=1u
			extend a 1 ttl=2u
			advance 1u
			advance 1u
			claim b 1 ttl=1u keep=3u
			extend a 1 ttl=1u
			claim a 2 ttl=1u keep=3u
		`,
	}, {
		"completion without a record",
		"a completion that finds no record is kept and reported as recovered, also when it is sent again",
		`
			done a 1 keep=3u result="r" print=A
			again 1
			claim a 2 ttl=1u keep=3u print=B
			claim a 2 ttl=1u keep=3u print=A
		`,
	}, {
		"fingerprint after the end",
		"another payload is a Mismatch for done and for dead keys too",
		`
			claim a 1 ttl=1u keep=3u print=A
			done a 1 keep=3u
			claim a 2 ttl=1u keep=3u print=B
			claim b 1 ttl=1u keep=3u print=A
			dead b 1 reason="broken"
			claim b 2 ttl=1u keep=3u print=B
		`,
	}, {
		"attempts used up",
		"the claim after the last attempt makes the key dead",
		`
			claim a 1 ttl=1u keep=3u
			advance 1u
			claim a 2 ttl=1u keep=3u max=2
			advance 1u
			claim a 3 ttl=1u keep=3u max=2
			claim a 1 ttl=1u keep=3u
		`,
	}, {
		"fence after the record",
		"the fence rises over the end of a record and over Forget",
		`
			claim a 1 ttl=1u keep=3u
			advance 10u
			claim a 1 ttl=1u keep=3u
			forget a
			advance 1u
			claim a 1 ttl=1u keep=3u
		`,
	}, {
		"revival",
		"a revived key has all its attempts, its fence and its fingerprint, and the old owner nothing",
		`
			claim a 1 ttl=1u keep=3u print=A
			dead a 1 reason="broken"
			revive a
			dead a 1 reason="late"
			claim a 1 ttl=1u keep=3u print=B
			claim a 1 ttl=1u keep=3u max=1
			done a 1 keep=3u
			revive a
			done a 1 keep=3u
		`,
	}, {
		"revival at the end of its record",
		"a revived key is remembered for what was left of its retention, and no longer",
		`
			claim a 1 ttl=1u keep=3u
			release a 1 delay=0
			advance 3u-1ms
			revive a
			advance 1ms
			again 2
		`,
	}, {
		"operator who saw another state",
		"an operator's word is about the record that was seen: an owner that finished meanwhile keeps its fence",
		`
			claim a 1 ttl=1u keep=10u
			advance 1u
			done a 1 keep=10u
			revive a seen=pending
			forget a seen=pending
			forget a
		`,
	}, {
		"claim that was given up unheard",
		"a release without a fence gives the attempt back, once",
		`
			claim a 1 ttl=2u keep=3u
			release a 1 fence=zero delay=0
			again 1
			claim a 2 ttl=2u keep=3u max=1
		`,
	}, {
		"parked",
		"under Park an owner that vanished is not replaced until the key is revived",
		`
			claim a 1 ttl=1u keep=10u
			advance 1u
			claim a 2 ttl=1u keep=3u park
			revive a
			claim a 2 ttl=1u keep=3u park
		`,
	}, {
		"batch on one key",
		"the operations of a batch on one key take effect in their order",
		`
			claim a 1 ttl=1u keep=3u
			| claim a 2 ttl=1u keep=3u
			| claim b 1 ttl=1u keep=3u
			done a 1 keep=3u
			| claim a 2 ttl=1u keep=3u
			| release a 1 delay=0
		`,
	},
}
