package memstore

// Slots are allocated by the chunk: a slab that grows copies nothing, wastes
// less than a chunk, and never moves a value.
const (
	chunkBits = 6
	chunkSize = 1 << chunkBits
)

// slab is a growing array of values with numbers that are used again.
type slab[T any] struct {
	chunks []*[chunkSize]T
	used   int // numbers given out so far
	free   []uint32
}

// at returns the value with a number. The pointer stays good.
func (s *slab[T]) at(number uint32) *T {
	return &s.chunks[number>>chunkBits][number%chunkSize]
}

// take returns the number of a zero value.
func (s *slab[T]) take() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		number := s.free[last]
		s.free = s.free[:last]
		return number
	}
	if s.used == len(s.chunks)*chunkSize {
		s.chunks = append(s.chunks, new([chunkSize]T))
	}
	s.used++
	return uint32(s.used - 1)
}

// give zeroes a value, so that it holds on to nothing, and takes its number
// back.
func (s *slab[T]) give(number uint32) {
	var zero T
	*s.at(number) = zero
	s.free = append(s.free, number)
}
