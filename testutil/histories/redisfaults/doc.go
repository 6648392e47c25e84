// Package redisfaults records histories of a claim store on a real Redis while
// its connections are cut, its replies are lost or late, its scripts are flushed,
// and its process is stopped, or killed and started again:
//
//	for _, fault := range redisfaults.All() {
//		h := redisfaults.Record(t, fault, redisfaults.Options{Open: open})
//		histories.Check(t, h)
//	}
//
// Each recording has a server process of its own, which ends with the test.
package redisfaults
