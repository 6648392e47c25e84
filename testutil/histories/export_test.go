package histories

import "github.com/anishathalye/porcupine"

// WeakerRefutes reports whether the weaker model, in which unknown operations
// take effect any number of times, finds a key of the history that it cannot
// explain.
func WeakerRefutes(h *History) bool {
	for _, ops := range h.byKey() {
		m, history := prepare(ops, true)
		if porcupine.CheckOperationsTimeout(m.porcupine(), history, patience) == porcupine.Illegal && !m.overflow.Load() {
			return true
		}
	}
	return false
}
