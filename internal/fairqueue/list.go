package fairqueue

// list is entries in the order in which they came.
type list[T any] struct {
	first, last *Entry[T]
	length      int
}

func (l *list[T]) add(e *Entry[T]) {
	l.length++
	e.prev = l.last
	if l.last == nil {
		l.first = e
	} else {
		l.last.next = e
	}
	l.last = e
}

func (l *list[T]) remove(e *Entry[T]) {
	l.length--
	if e.prev == nil {
		l.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.next, e.prev = nil, nil
}

func (l *list[T]) append(to []*Entry[T]) []*Entry[T] {
	for e := l.first; e != nil; e = e.next {
		to = append(to, e)
	}
	return to
}

func (l *list[T]) find(try func(T) Verdict) (*Entry[T], Verdict) {
	for e := l.first; e != nil; e = e.next {
		if v := try(e.Value); v != Skip {
			return e, v
		}
	}
	return nil, Skip
}
