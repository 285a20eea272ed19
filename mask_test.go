package aigateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestMasked guards row X15: the error of an instance that tells its own key, a header of
// the file, the client's key or the instance's address reaches neither the client nor
// the record so, as a refusal, as the last word of a failing instance or within a stream.
func TestMasked(t *testing.T) {
	const key, header, clientKey, word = "sk-instance-0123456789", "team-secret-0123456789", "sk-client-0123456789", "EMPTY"
	kind := ""
	w := startWitness(t, func(w http.ResponseWriter, r *http.Request) {
		text := fmt.Sprintf(`{"error":{"message":"%s at http://%s/v1 does not like %s and %s, EMPTY","type":"some_error"}}`, r.Header.Get("Authorization"), r.Host, r.Header.Get("X-Team"), clientKey)
		w.Header().Set("X-Debug", "key "+r.Header.Get("Authorization"))
		switch kind {
		case "stream":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, chatEvent+"data: "+text+"\n\n")
		case "first":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: "+text+"\n\n")
		case "400", "404", "500":
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			status := 0
			fmt.Sscan(kind, &status)
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	})
	g := startGateway(t, fmt.Sprintf(`{"instances": [
		{"url": "%[1]s/v1", "model_name": "m", "name": "m", "api_key": "%[2]s", "headers": {"X-Team": "%[3]s"}},
		{"url": "%[1]s/v1", "model_name": "own", "name": "own", "headers": {"X-Team": "%[3]s"}},
		{"url": "%[1]s/v1", "model_name": "word", "name": "word", "api_key": "%[4]s", "headers": {"X-Team": "%[3]s"}}]}`, w.URL, key, header, word))
	for _, kind = range []string{"400", "404", "500", "stream", "first"} {
		for _, model := range []string{"m", "own", "word"} {
			r, err := http.NewRequest(http.MethodPost, g.url+chatPath, strings.NewReader(fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[]}`, model, !strings.HasSuffix(kind, "0"))))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+clientKey)
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body) // an error in a stream may abort it
			res.Body.Close()
			got := fmt.Sprint(res.Header) + string(body)
			for _, secret := range []string{key, header, clientKey, strings.TrimPrefix(w.URL, "http://")} {
				if strings.Contains(got, secret) {
					t.Errorf("%s, %s: client got %s in %s", kind, model, secret, got)
				}
			}
			masked := strings.Contains(string(body), "http://[redacted]/v1 does not like [redacted] and [redacted], EMPTY")
			if dropped := kind == "500" && model != "own"; masked == dropped { // it tells the key, however short
				t.Errorf("%s, %s: client got %s", kind, model, body)
			}
		}
	}
	for _, r := range g.waitRecords(t, incompleteFolder, 3) {
		for _, secret := range []string{key, header, clientKey, strings.TrimPrefix(w.URL, "http://")} {
			if strings.Contains(r.Meta, secret) {
				t.Errorf("record has %s in %s", secret, r.Meta)
			}
		}
		if !strings.Contains(r.Meta, "does not like [redacted]") {
			t.Errorf("record has meta %s", r.Meta)
		}
	}
}
