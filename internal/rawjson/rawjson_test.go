package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWalk(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var got []string
		for m := Object([]byte(text)); m.Next(); {
			got = append(got, string(m.Key)+"="+string(m.Value))
		}
		for e := Array([]byte(text)); e.Next(); {
			got = append(got, string(e.Value))
		}
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("walk over %q: got %q, want %q", text, s, want)
		}
	}
	f(`{}`, "")
	f(`[]`, "")
	f(`null`, "")
	f(``, "")
	f(` {"a" : 1 , "b":[1,{"c":"}]"}] ,"a":"x\"y"} `, `a=1|b=[1,{"c":"}]"}]|a="x\"y"`)
	f(`{"\u0061":{}}`, `a={}`)
	f(`[1, "a" ,null,[2],{"x":3}]`, `1|"a"|null|[2]|{"x":3}`)
	f(`["a\\","b"]`, `"a\\"|"b"`)
	f(`{"a":1`, `a=1`)
	f(`{"a"`, ``)
	f(`{"a":`, ``)
	f(`["a`, ``)
	f(`[[1]`, `[1]`)
	f(`[[1`, ``)
	f(`{1:2}`, ``)
	f(`["x",:]`, `"x"|:`)
}

func TestText(t *testing.T) {
	f := func(value, want string, wantOK bool) {
		t.Helper()
		got, ok := AppendText(nil, []byte(value))
		if string(got) != want || ok != wantOK {
			t.Errorf("AppendText(%q): got %q, %v; want %q, %v", value, got, ok, want, wantOK)
		}
	}
	f(`"abc"`, "abc", true)
	f(`""`, "", true)
	f(`"a\n\t\"\\\/\b\f\r\u00e9\ud83d\ude00"`, "a\n\t\"\\/\b\f\ré😀", true)
	f(`"\ud800x\udc00"`, "\uFFFDx\uFFFD", true)
	f("\"\xff\xc3é\"", "\uFFFD\uFFFDé", true)
	f(`"\x41"`, "x41", false)
	f(`"\u12"`, "u12", false)
	f("\"a\nb\"", "a\nb", false)
	f(`null`, "", false)
	f(`"`, "", false)
}

func TestCompact(t *testing.T) {
	in := "{ \"b\" : [ 1.0, 9007199254740993 , -0e5, true, null ],\n\"a\\u0062\":\"\\u003c\\/\\u2028é\\ud800\x01\" }"
	got := string(AppendCompact(nil, []byte(in), nil))
	want := `{"b":[1.0,9007199254740993,-0e5,true,null],"ab":"</\u2028é` + "\uFFFD" + `\u0001"}`
	if got != want {
		t.Errorf("AppendCompact: got %s, want %s", got, want)
	}
	got = string(AppendCompact(nil, []byte(`{"k":"k","l":["k"]}`), func(b []byte) []byte { return append(b, '!') }))
	if want = `{"k":"k!","l":["k!"]}`; got != want {
		t.Errorf("AppendCompact with an edit: got %s, want %s", got, want)
	}
}

// FuzzText: over any bytes nothing panics, what is written is valid and loses
// nothing, and a valid string decodes to what encoding/json makes of it.
func FuzzText(f *testing.F) {
	for _, s := range []string{`"abc"`, `"a\n\u00e9"`, `"\ud83d\ude00\ud800"`, "\"\xff\u2028\"", `{"a":[1,"b"]}`, `"aaaaaaaaaaaaaaa\`, `[{"x":"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for m := Object(b); m.Next(); {
			for e := Array(m.Value); e.Next(); {
				continue
			}
		}
		written := AppendString(nil, b)
		var decoded string
		if err := json.Unmarshal(written, &decoded); err != nil {
			t.Fatalf("AppendString(%q): %q is invalid: %v", b, written, err)
		}
		if got, ok := AppendText(nil, written); !ok || string(got) != decoded {
			t.Fatalf("AppendText(%q): got %q, %v; want %q", written, got, ok, decoded)
		}
		// Over any string the loose decoding is the same once it is written again.
		quoted := append(append([]byte{'"'}, b...), '"')
		strict, _ := AppendText(nil, quoted)
		if got, want := AppendString(nil, AppendLoose(nil, quoted)), AppendString(nil, strict); !bytes.Equal(got, want) {
			t.Fatalf("AppendLoose(%q): written as %q, want %q", quoted, got, want)
		}
		inside := bytes.ReplaceAll(b, []byte{'"'}, nil)
		if strict, _ = AppendUnescaped(nil, inside); !bytes.Equal(AppendRecoded(nil, inside), AppendEscaped(nil, strict)) {
			t.Fatalf("AppendRecoded(%q): got %q, want %q", inside, AppendRecoded(nil, inside), AppendEscaped(nil, strict))
		}
		if got, want := Canonical(inside), CanonicalLength(inside) == len(inside); got != want {
			t.Fatalf("Canonical(%q): got %v, want %v", inside, got, want)
		}
		compact := AppendCompact(nil, b, nil)
		if !json.Valid(b) {
			return
		}
		if !json.Valid(compact) {
			t.Fatalf("AppendCompact(%q): %q is invalid", b, compact)
		}
		if again := AppendCompact(nil, compact, nil); !bytes.Equal(again, compact) {
			t.Fatalf("AppendCompact(%q): got %q, want it unchanged", compact, again)
		}
		if got, ok := AppendText(nil, Trim(b)); json.Unmarshal(b, &decoded) == nil && IsString(Trim(b)) && (!ok || string(got) != decoded) {
			t.Fatalf("AppendText(%q): got %q, %v; want %q", b, got, ok, decoded)
		}
	})
}

func BenchmarkRecode(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"plain", "Some words of a long prompt, with a line end of its own.\\n"},
		{"escapes", strings.Join([]string{`\n`, ` \"quoted\" `, `\n\n`, ` naïve café `, ` \"it is\", `, `\n- `, ` “漢字” 🙂 `, `.\n`, ` a\\b\tc `, ` {\"model\":\"decoy\",\"n\":1} `, ` \u00e9 \u4f60 `},
			"the model of an answer and what it said when all were there, as one ")},
		{"chinese", `网关把每个请求都记录下来，并且每一行都是完整的。\n`},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := bytes.Repeat([]byte(c.text), 256<<10/len(c.text))
			var out []byte
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				out = AppendRecoded(out[:0], in)
			}
		})
	}
}

// TestAppendRecoded guards that a text written anew without being decoded is the one
// that decoding and encoding give.
func TestAppendRecoded(t *testing.T) {
	pieces := []string{"a", "long enough to fill several words of eight bytes", `\n`, `\"`, `\\`, `\/`, `\u0041`, `\u001f`, `\ud83d\ude00`, `\ud83d`, `\x`, `\`, "é", "文字", "\u2028", "\u2029", "\xff", "\xe2\x80", "\x01", "\n", "\x7f", "😀"}
	rapid.Check(t, func(t *rapid.T) {
		s := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "pieces"), ""))
		if skipString(append(append([]byte{'"'}, s...), '"'), 0) != len(s)+2 {
			t.Skip("ends in the middle")
		}
		decoded, _ := AppendUnescaped(nil, s)
		if got, want := AppendRecoded(nil, s), AppendEscaped(nil, decoded); !bytes.Equal(got, want) || !json.Valid([]byte(`"`+string(got)+`"`)) {
			t.Fatalf("%q: got %q, want %q", s, got, want)
		}
		if got, want := Canonical(s), CanonicalLength(s) == len(s); got != want || got && !bytes.Equal(AppendRecoded(nil, s), s) {
			t.Fatalf("%q: got canonical %v, want %v", s, got, want)
		}
	})
}

// TestEnds guards that a walk with a memory is no other than one without.
func TestEnds(t *testing.T) {
	var strs []string
	for n := range 12 {
		strs = append(strs, fmt.Sprintf(`{"n":%d,"long":"%s","short":"\"x\"","again":["%s"]}`, n, strings.Repeat(`word \"q\" \\`, 400+n), strings.Repeat("é", longString/2+n)))
	}
	text := []byte(`{"a":[` + strings.Join(strs, ",") + `],"b":"` + strings.Repeat("x", longString) + `"}`)
	walk := func(ends *Ends) (all []string) {
		for m := Object(text).With(ends); m.Next(); {
			all = append(all, string(m.Value))
			for e := Array(m.Value).With(ends); e.Next(); {
				all = append(all, string(e.Value))
				for i := Object(e.Value).With(ends); i.Next(); {
					all = append(all, string(i.Value))
				}
			}
		}
		return all
	}
	ends := new(Ends)
	if got, want := walk(ends), walk(nil); !slices.Equal(got, want) || len(want) != 62 || ends.n != len(ends.starts) {
		t.Errorf("got %d values, %d remembered, want %d values as without a memory", len(got), ends.n, len(want))
	}
}
