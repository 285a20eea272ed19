package json5

import (
	"slices"
	"strings"
	"testing"
)

// parsedDoc returns the document of src, which must be right.
func parsedDoc(t testing.TB, src string) *Document {
	t.Helper()
	d, err := Parse([]byte(src))
	if err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	return d
}

// TestAppend guards where a new element stands and how it is written.
func TestAppend(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		d := parsedDoc(t, src)
		got := string(d.Append(d.At("list"), Member{"u", "n"}, Member{"w", 2}))
		if got != want {
			t.Errorf("Append to %q:\ngot  %q\nwant %q", src, got, want)
		}
		if at := parsedDoc(t, got).At("list"); len(at.items) != len(d.At("list").items)+1 {
			t.Errorf("Append to %q: got %d elements", src, len(at.items))
		}
	}
	// One line.
	f(`{"list":[{"u":"a"}]}`, `{"list":[{"u":"a"},{"u":"n","w":2}]}`)
	f(`{"list": [{"u": "a"}]}`, `{"list": [{"u": "a"}, {"u": "n", "w": 2}]}`)
	f(`{"list": [{"u": "a", "w": 1},]}`, `{"list": [{"u": "a", "w": 1}, {"u": "n", "w": 2},]}`)
	f(`{list: [ { u: 'a', } ] }`, `{list: [ { u: 'a', }, { u: 'n', w: 2, } ] }`)
	f(`{list:[{u:'a'} , {u:'b'}]}`, `{list:[{u:'a'} , {u:'b'}, {u:'n',w:2}]}`)
	f(`{list: [{u : 'a'} /* c */]}`, `{list: [{u : 'a'}, {u : 'n', w : 2} /* c */]}`)
	f(`{list: [null, 3]}`, `{list: [null, 3, { u: "n", w: 2 }]}`)
	// Lines of their own.
	f("{\n  list: [\n    { u: \"a\" },\n  ],\n}", "{\n  list: [\n    { u: \"a\" },\n    { u: \"n\", w: 2 },\n  ],\n}")
	f("{\n  list: [\n    { u: \"a\" }\n  ]\n}", "{\n  list: [\n    { u: \"a\" },\n    { u: \"n\", w: 2 }\n  ]\n}")
	f("{\r\n\tlist: [\r\n\t\t{ u: 'a' }, // x, ]\r\n\t\t// own\r\n\t],\r\n}",
		"{\r\n\tlist: [\r\n\t\t{ u: 'a' }, // x, ]\r\n\t\t{ u: 'n', w: 2 },\r\n\t\t// own\r\n\t],\r\n}")
	f("{list: [\n {u: 'a'} // x\n]}", "{list: [\n {u: 'a'}, // x\n {u: 'n', w: 2}\n]}")
	f("{list: [\n {u: 'a'} /* x */ ]}", "{list: [\n {u: 'a'}, /* x */\n {u: 'n', w: 2} ]}")
	f("{list: [\n {u: 'a'} /* x\n y */\n]}", "{list: [\n {u: 'a'}, /* x\n y */\n {u: 'n', w: 2}\n]}")
	f("{list: [\n {u: 'a'}]}", "{list: [\n {u: 'a'},\n {u: 'n', w: 2}]}")
	f("{list: [\n {u: 'a'}\n , // x\n]}", "{list: [\n {u: 'a'}\n , // x\n {u: 'n', w: 2},\n]}")
	f("{\r  list: [\r    {u: 'a'},\r  ],\r}", "{\r  list: [\r    {u: 'a'},\r    {u: 'n', w: 2},\r  ],\r}")
	// Members on lines of their own, with and without a comma at the end.
	f("{\n \"list\": [\n  {\n   \"u\": \"a\"\n  }\n ]\n}", "{\n \"list\": [\n  {\n   \"u\": \"a\"\n  },\n  {\n   \"u\": \"n\",\n   \"w\": 2\n  }\n ]\n}")
	f("{\n  list: [{\n    u: 'a',\n    w: 1,\n  }, {\n    u: 'b', // c\n    w: 1,\n  }],\n}",
		"{\n  list: [{\n    u: 'a',\n    w: 1,\n  }, {\n    u: 'b', // c\n    w: 1,\n  }, {\n    u: 'n',\n    w: 2,\n  }],\n}")
	f("{list: [\n  { // c\n    u: 'a', x: 1 },\n]}", "{list: [\n  { // c\n    u: 'a', x: 1 },\n  {\n    u: 'n', w: 2 },\n]}")
	// Of an element that ends further to the left than it begins nothing is learnt.
	f("{list: [\n  {\n    u: 'a'\n  },\n    {\n    u: 'b'\n  }\n]}", "{list: [\n  {\n    u: 'a'\n  },\n    {\n    u: 'b'\n  },\n  {\n    u: 'n',\n    w: 2\n  }\n]}")
	// None there: as in another array, or as in the document.
	f(`{"list":[]}`, `{"list":[{"u":"n","w":2}]}`)
	f(`{"list": [ ]}`, `{"list": [{ "u": "n", "w": 2 }]}`)
	f(`{list: [/* c */], s: 'x'}`, `{list: [/* c */{ u: 'n', w: 2 }], s: 'x'}`)
	f("{\n\tlist: [],\n}", "{\n\tlist: [\n\t\t{ u: \"n\", w: 2 },\n\t],\n}")
	f("{\n    \"list\": [ ]\n}", "{\n    \"list\": [\n        { \"u\": \"n\", \"w\": 2 }\n    ]\n}")
	f("{\n  list: [ // c\n    //{ u: 'x' },\n  ],\n}", "{\n  list: [ // c\n    //{ u: 'x' },\n    { u: \"n\", w: 2 },\n  ],\n}")
	f("{\n  list: [ /* c */ ],\n}", "{\n  list: [ /* c */\n    { u: \"n\", w: 2 },\n  ],\n}")
	f("{\n  list: [],\n  more: [\n      {\n        u: 'a'\n      }\n  ]\n}", "{\n  list: [\n    {\n      u: 'n',\n      w: 2\n    }\n  ],\n  more: [\n      {\n        u: 'a'\n      }\n  ]\n}")
	f("\uFEFF{list: []}", "\uFEFF{list: [{ u: \"n\", w: 2 }]}")
}

// TestSet guards how a member is changed or added.
func TestSet(t *testing.T) {
	f := func(src string, m Member, want string) {
		t.Helper()
		d := parsedDoc(t, src)
		got := string(d.Set(d.At(), m))
		if got != want {
			t.Errorf("Set %v in %q:\ngot  %q\nwant %q", m, src, got, want)
		}
		parsedDoc(t, got)
	}
	w := Member{"w", 7}
	f(`{w: 0x1}`, w, `{w: 7}`)
	f(`{"w" /* a */ : /* b */ null, // c`+"\n}", w, `{"w" /* a */ : /* b */ 7, // c`+"\n}")
	f("\uFEFF{ 'w':[1, {}] , }", w, "\uFEFF{ 'w':7 , }")
	f(`{\u0077: 1}`, w, `{\u0077: 7}`)
	f(`{}`, w, "{\n  \"w\": 7\n}")
	f(`{"a":1}`, w, `{"a":1,"w":7}`)
	f(`{ a: 1, }`, w, `{ a: 1, w: 7, }`)
	f(`{ 'a': 1 /* c */ }`, w, `{ 'a': 1, 'w': 7 /* c */ }`)
	f("{\n  a: 1 // c\n}\n", w, "{\n  a: 1, // c\n  w: 7\n}\n")
	f("{\n  a: 1, // c\n  // d\n  b: 2, // e\n  // f\n}\n", w, "{\n  a: 1, // c\n  // d\n  b: 2, // e\n  w: 7,\n  // f\n}\n")
	f("{ a: 1,\n  b: 2 }", w, "{ a: 1,\n  b: 2,\n  w: 7 }")
	f("{\n  a: 1, b: 2,\n}", w, "{\n  a: 1, b: 2, w: 7,\n}")
	f(`{a: 'x'}`, Member{"b", `it's "\` + "\n\u2028é<"}, `{a: 'x', b: 'it\'s "\\\n\u2028é<'}`)
	f(`{"a": 1}`, Member{"b", `it's "\`}, `{"a": 1, "b": "it's \"\\"}`)
	f(`{a: 'x'}`, Member{"x-y", true}, `{a: 'x', 'x-y': true}`)
	f(`{a: 'x'}`, Member{"b", Raw("[]")}, `{a: 'x', b: []}`)
}

// TestRemove guards what goes with a member or element, and what stays.
func TestRemove(t *testing.T) {
	f := func(src string, path []any, want string) {
		t.Helper()
		d := parsedDoc(t, src)
		n := d.At(path...)
		got := string(d.Remove(n))
		if got != want {
			t.Errorf("Remove %v from %q:\ngot  %q\nwant %q", path, src, got, want)
		}
		if parent := parsedDoc(t, got).At(path[:len(path)-1]...); len(parent.items) != len(n.parent.items)-1 {
			t.Errorf("Remove %v from %q: %d items are left", path, src, len(parent.items))
		}
	}
	at := func(n int) []any { return []any{n} }
	// One line.
	f(`[{a: 1}]`, at(0), `[]`)
	f(`[ {a: 1}, ]`, at(0), `[]`)
	f(`[1, 2, 3]`, at(0), `[2, 3]`)
	f(`[1, 2, 3]`, at(1), `[1, 3]`)
	f(`[1, 2, 3]`, at(2), `[1, 2]`)
	f(`[1, 2, 3 ,]`, at(2), `[1, 2,]`)
	f(`[1 /* a */, 2 /* b */]`, at(0), `[ /* a */ 2 /* b */]`)
	f(`[1 /* a */, 2 /* b */]`, at(1), `[1 /* a */ /* b */]`)
	f(`[1, /* a */ 2]`, at(1), `[1 /* a */ ]`)
	f(`[1, /* a */ 2]`, at(0), `[ /* a */ 2]`)
	f(`[/* a */ 1 /* b */]`, at(0), `[/* a */  /* b */]`)
	f(`{a: 1, b: 2}`, []any{"a"}, `{b: 2}`)
	f(`{ a: 1, "b" /* x */: 2 }`, []any{"b"}, `{ a: 1 }`)
	// Lines of their own.
	f("[\n  1, // a\n  // b\n  2, // c\n  // d\n]", at(0), "[\n  // b\n  2, // c\n  // d\n]")
	f("[\n  1, // a\n  // b\n  2, // c\n  // d\n]", at(1), "[\n  1, // a\n  // b\n  // d\n]")
	f("[\r\n  1, // a\r\n  // b\r\n  2 // c\r\n  // d\r\n]", at(1), "[\r\n  1 // a\r\n  // b\r\n  // d\r\n]")
	f("[\n  {\n    a: 1\n  }, /* b */ // c\n  2\n]", at(0), "[\n  2\n]")
	f("[\n  1\n]", at(0), "[\n]")
	f("[\n  1,\n  2]", at(1), "[\n  1]")
	f("[\n  1, 2,\n  3\n]", at(0), "[\n  2,\n  3\n]")
	f("[\n  1, 2,\n  3\n]", at(1), "[\n  1, 3\n]")
	f("[\n  1 // a\n  , 2 // b\n]", at(0), "[\n   // a\n   2 // b\n]")
	f("[\n  1 // a\n  , 2 // b\n]", at(1), "[\n  1 // a\n   // b\n]")
	f("[1, // a\n  2]", at(1), "[1 // a\n  ]")
	f("[{\n  a: 1\n}, {\n  b: 1\n}]", at(0), "[{\n  b: 1\n}]")
	f("[{\n  a: 1\n}, {\n  b: 1\n}]", at(1), "[{\n  a: 1\n}]")
	f("\uFEFF{\n\tx: [\n\t\t1,\n\t],\n\ty: 2 }", []any{"x"}, "\uFEFF{\n\ty: 2 }")
}

// TestMasked guards what a text for people shows of keys.
func TestMasked(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		got := string(parsedDoc(t, src).Masked(func(v string) bool { return strings.HasPrefix(v, "{env.") }))
		if got != want {
			t.Errorf("Masked %q:\ngot  %q\nwant %q", src, got, want)
		}
	}
	f("\uFEFF{url: 'http://h/v1', api_key: 'hunter2', // mine\n}", "\uFEFF{url: 'http://h/v1', api_key: '***', // mine\n}")
	f(`{api_key: "{env.KEY}", headers: {a: 'b', "c": '{env.X}'}}`, `{api_key: "{env.KEY}", headers: {a: '***', "c": '{env.X}'}}`)
	f(`{url: "http://u:p@h/v1"}`, `{url: "http://***@h/v1"}`)
	f("[ //{ url: 'x', api_key: 'y' },\r\n 1, /* --Token=x\r\n plain\n http://u:p@h, key: z */ 2 // a@b\n]",
		"[ //{ url: 'x', api_***\r\n 1, /* --***\r\n plain\n http://****/ 2 //***@b\n]")
	f("{key: 'a\\\nb'}", "{key: '***\n***'}")
}

// FuzzEdit checks that an edit of any text leaves one that can be read, with one item
// more or less where it was made and the same number of all others.
func FuzzEdit(f *testing.F) {
	for _, src := range []string{
		"{list: [{u: 'a'}, // x\n {u: \"b\", w: 1 /* y */},\r\n], }", "{\n\t\"list\": [\n\t\t{\n\t\t\t\"u\": \"a\"\n\t\t}\n\t]\n}", "\uFEFF{ a: [], b: {}, c: [[1,2],[]] }//",
		"[1//\u20282\n,3]", "{a:1\r,b:[/*\r*/]}",
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := Parse(src)
		if err != nil || len(src) > 2000 {
			return
		}
		check := func(what string, n *Node, text []byte, more int) {
			after, err := Parse(text)
			if err != nil {
				t.Fatalf("%s at %s: %q becomes %q: %v", what, n.path(), src, text, err)
			}
			var path []int
			for p := n; p.parent != nil; p = p.parent {
				path = append(path, p.index)
			}
			same := after.root
			for _, k := range slices.Backward(path) {
				same = same.items[k]
			}
			if len(same.items) != len(n.items)+more {
				t.Fatalf("%s at %s: %q becomes %q: %d items, want %d", what, n.path(), src, text, len(same.items), len(n.items)+more)
			}
			if got, want := leaves(after.root)-leaves(same), leaves(d.root)-leaves(n); got != want {
				t.Fatalf("%s at %s: %q becomes %q: %d values elsewhere, want %d", what, n.path(), src, text, got, want)
			}
		}
		var walk func(n *Node)
		walk = func(n *Node) {
			switch n.kind {
			case array:
				check("Append", n, d.Append(n, Member{"u", "n"}, Member{"w", 2}), 1)
			case object:
				check("Set", n, d.Set(n, Member{"new member", `it's "`}), 1)
			default:
			}
			for _, m := range n.items {
				check("Remove", n, d.Remove(m), -1)
				walk(m)
			}
		}
		if d.root.kind == object || d.root.kind == array {
			walk(d.root)
		}
	})
}

// leaves returns the number of values in n.
func leaves(n *Node) int {
	count := 1
	for _, m := range n.items {
		count += leaves(m)
	}
	return count
}
