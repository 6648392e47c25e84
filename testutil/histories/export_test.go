package histories

import "github.com/anishathalye/porcupine"

// WeakerRefutes reports whether the weaker model, in which unknown operations
// take effect any number of times, finds a key of the history that it cannot
// explain.
func WeakerRefutes(h *History) bool {
	for _, ops := range h.byKey() {
		explained := false
		for depth := range 5 {
			m, history := prepare(ops, true, depth)
			if porcupine.CheckOperations(m.porcupine(), history) || m.gaveUp {
				explained = true
				break
			}
		}
		if !explained {
			return true
		}
	}
	return false
}
