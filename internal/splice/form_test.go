package splice

import (
	"bytes"
	"io"
	"mime/multipart"
	"strings"
	"testing"
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func TestField(t *testing.T) {
	f := func(body, want, wantErr string) {
		t.Helper()
		b := crlf(body)
		v, err := Field(b, "XX", "model")
		got, gotErr := "", ""
		if err != nil {
			gotErr = err.Error()
		} else if v.Found() {
			got = string(v.Raw(b))
		}
		if got != want || gotErr != wantErr {
			t.Errorf("Field(%q): got %q, error %q; want %q, error %q", body, got, gotErr, want, wantErr)
		}
	}
	const model = "--XX\nContent-Disposition: form-data; name=\"model\"\n\nwhisper\n"
	const file = "--XX\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\nContent-Type: audio/wav\n\n--XY\nRIFF\n"
	f(model+"--XX--\n", "whisper", "")
	f(file+model+"--XX--", "whisper", "")
	f(model+file+"--XX--", "whisper", "")
	f("preamble\n"+model+"--XX--", "whisper", "")
	f(file+"--XX--", "", "")
	f("--XX\ncontent-disposition:form-data; name=model\n\n\n--XX--", "", "")
	f("--XX\nContent-Disposition: form-data; name=\"model\"; filename=\"m\"\n\nx\n--XX--", "", "")
	f("--XX--", "", "")
	f(model+model+"--XX--", "", `member "model" is given twice, again at byte 117`)
	f("", "", "multipart form has no part at byte 0")
	f("a--XX\n", "", "multipart form has no part at byte 0")
	f("--XX\nContent-Disposition: form-data; name=\"model\"\n\nwhisper", "", "multipart part has no end at byte 54")
	f("--XX\nContent-Disposition: form-data; name=\"model\"\nwhisper\n--XX--", "", "multipart header has no end within 16384 bytes at byte 6")
	f("--XX\n\nx\n--XX--", "", "multipart part has no valid Content-Disposition header at byte 6")
	f("--XX\nContent-Disposition: form-data; name=a\nContent-Disposition: form-data; name=model\n\nx\n--XX--", "",
		"multipart part has two Content-Disposition headers at byte 6")
	f("--XXY\nContent-Disposition: form-data; name=\"model\"\n\nx\n--XX--", "", "multipart delimiter is followed by text at byte 4")
}

func TestFieldBoundary(t *testing.T) {
	for _, boundary := range []string{"", strings.Repeat("x", 71)} {
		if _, err := Field([]byte("--\r\n"), boundary, "model"); err == nil || err.Error() != "multipart boundary is missing or longer than 70 bytes at byte 0" {
			t.Errorf("Field with boundary %q: got error %v", boundary, err)
		}
	}
}

// FuzzField checks against mime/multipart: where both read a form, they see the
// same field.
func FuzzField(f *testing.F) {
	f.Add("whisper", []byte("data"), "file.wav")
	f.Add("", []byte("\r\n--XX\r\n"), "model")
	f.Add("a\r\nb", []byte("--XX--"), "")
	f.Fuzz(func(t *testing.T, model string, file []byte, filename string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, err := w.CreateFormFile("file", filename)
		if err != nil {
			t.Skip(err)
		}
		part.Write(file)
		w.WriteField("model", model)
		w.Close()
		v, err := Field(b.Bytes(), w.Boundary(), "model")
		if err != nil {
			r := multipart.NewReader(&b, w.Boundary())
			for {
				p, err := r.NextPart()
				if err != nil {
					t.Skip("mime/multipart refuses it too:", err)
				}
				if p.FormName() == "model" {
					break
				}
				io.Copy(io.Discard, p)
			}
			t.Fatalf("Field: %v for %q %q", err, filename, file)
		}
		if got := string(v.Raw(b.Bytes())); got != model {
			t.Fatalf("Field: got %q, want %q", got, model)
		}
	})
}
