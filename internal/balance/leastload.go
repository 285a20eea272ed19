package balance

// draws is how many servers are drawn in search of two that can be used. Where so many do
// not find them few are left, and those are looked for in order.
const draws = 8

// LeastLoad returns the number of the server with less to do for its weight, of two that
// are drawn at random; of two or fewer it looks at all. It returns -1 if none can be used.
// To draw two is nearly as good as to look at all and, where several gateways choose by
// the same gauges, better: they do not all rush to the same server.
func (s *Set) LeastLoad(a Ask, usable func(n int) bool) int {
	first, second := s.two(usable)
	if second < 0 {
		return first
	}
	tokens := a.Tokens(0)
	if s.load(second, a, tokens) < s.load(first, a, tokens) {
		return second
	}
	return first
}

// two draws two different servers that can be used; what there is not is -1.
func (s *Set) two(usable func(n int) bool) (first, second int) {
	first = -1
	if len(s.servers) > 2 {
		for range draws {
			switch n := s.owner(s.random(s.total)); {
			case n == first || !usable(n):
			case first < 0:
				first = n
			default:
				return first, n
			}
		}
	}
	if len(s.servers) == 0 {
		return -1, -1
	}
	begin := int(s.random(uint64(len(s.servers))))
	for k := range s.servers {
		n := begin + k
		if n >= len(s.servers) {
			n -= len(s.servers)
		}
		switch {
		case n == first || !usable(n):
		case first < 0:
			first = n
		default:
			return first, n
		}
	}
	return first, -1
}
