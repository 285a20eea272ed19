package json5

import (
	"math"
	"reflect"
)

func (dec *decoder) unmarshaler(n *Node, u Unmarshaler) {
	var value any
	var hooked string
	switch {
	case n.kind == object || n.kind == array:
		dec.mismatch(n, "a single value")
		return
	case isSpecial(dec.doc.text(n)):
		dec.mismatch(n, "a finite number")
		return
	case n.kind == stringValue:
		s, ok := dec.str(n)
		if !ok {
			return
		}
		value, hooked = s, s
	case isLiteral(dec.doc.text(n)):
		if text := string(dec.doc.text(n)); text != "null" {
			value = text == "true"
		}
	default:
		num, _ := parseNumber(string(dec.doc.text(n)))
		if i, _, fits := num.signed(); fits {
			value = i
		} else if f := num.float(); !math.IsInf(f, 0) {
			value = f
		} else {
			dec.report(n, "number is out of range")
			return
		}
	}
	if err := u.UnmarshalValue(value); err != nil {
		dec.report(n, "%s", dec.doc.scrub(n, err.Error(), hooked))
	}
}

// single stores a string, bool or number.
func (dec *decoder) single(n *Node, v reflect.Value) {
	text := string(dec.doc.text(n))
	switch k := v.Kind(); {
	case k == reflect.String:
		if n.kind != stringValue {
			dec.mismatch(n, "a string")
		} else if s, ok := dec.str(n); ok {
			v.SetString(s)
		}
	case k == reflect.Bool:
		if n.kind != bareValue || text != "true" && text != "false" {
			dec.mismatch(n, "true or false")
			return
		}
		v.SetBool(text == "true")
	case v.CanInt() || v.CanUint():
		if num, ok := dec.number(n, "a whole number"); ok {
			dec.integer(n, v, num)
		}
	case v.CanFloat():
		if num, ok := dec.number(n, "a number"); ok {
			f := num.float()
			if math.IsInf(f, 0) || v.OverflowFloat(f) {
				dec.report(n, "number is out of range")
				return
			}
			v.SetFloat(f)
		}
	default:
		dec.report(n, "type %s cannot be read from a file", v.Type())
	}
}

func (dec *decoder) number(n *Node, want string) (num numeral, ok bool) {
	if n.kind == bareValue {
		num, ok = parseNumber(string(dec.doc.text(n)))
	}
	if !ok {
		dec.mismatch(n, want)
	}
	return num, ok
}

func (dec *decoder) integer(n *Node, v reflect.Value, num numeral) {
	bits := v.Type().Bits()
	if v.CanInt() {
		i, whole, fits := num.signed()
		switch {
		case !fits && !whole:
			dec.report(n, "got a number with a fraction, want a whole number")
		case !fits || v.OverflowInt(i):
			limit := int64(1) << (bits - 1) // for 64 bits it is the lowest, and its predecessor the highest
			dec.report(n, "number is out of range, want %d to %d", -limit, limit-1)
		default:
			v.SetInt(i)
		}
		return
	}
	u, whole, fits := num.magnitude()
	switch {
	case !fits && !whole:
		dec.report(n, "got a number with a fraction, want a whole number")
	case !fits || num.negative && u > 0 || v.OverflowUint(u):
		dec.report(n, "number is out of range, want 0 to %d", uint64(math.MaxUint64)>>(64-bits))
	default:
		v.SetUint(u)
	}
}

// str decodes a string and applies the hook.
func (dec *decoder) str(n *Node) (string, bool) {
	s := unquote(dec.doc.text(n))
	if dec.opt.String == nil {
		return s, true
	}
	hooked, err := dec.opt.String(s)
	if err != nil {
		dec.report(n, "%s", dec.doc.scrub(n, err.Error(), s))
		return "", false
	}
	return hooked, true
}
