package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed assets
var assetFiles embed.FS

// assetSet is what the page loads, under a version that is a digest of all of it:
// a file's address changes with its content, so that it may be kept for ever.
type assetSet struct {
	version string
	files   map[string]asset // by name, without folders
}

type asset struct {
	mime         string
	plain, small []byte // small is gzip
}

var mimes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
}

// assets compresses the files when they are first asked for.
var assets = sync.OnceValue(func() *assetSet {
	set := &assetSet{files: make(map[string]asset)}
	digest := sha256.New()
	err := fs.WalkDir(assetFiles, ".", func(name string, entry fs.DirEntry, err error) error {
		mime, served := mimes[path.Ext(name)]
		if err != nil || entry.IsDir() || !served {
			return err
		}
		plain, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(digest, "%s %d\n%s", name, len(plain), plain)
		set.files[path.Base(name)] = asset{mime, plain, compress(plain, gzip.BestCompression)}
		return nil
	})
	if err != nil {
		panic(err) // of files within the program
	}
	set.version = hex.EncodeToString(digest.Sum(nil))[:12]
	return set
})

// compress returns the gzip form of b.
func compress(b []byte, level int) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		panic(err) // of the level, which is a constant
	}
	_, _ = w.Write(b) // a buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// acceptsGzip reports whether the client takes gzip. A coding with "q=0" is refused.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q := strings.TrimRight(strings.ReplaceAll(params, " ", ""), "0.")
			return q != "q="
		}
	}
	return false
}

// ServeAsset serves what the pages load; rest is "VERSION/NAME".
func ServeAsset(w http.ResponseWriter, r *http.Request, rest string) {
	protect(w.Header(), policy)
	serveAsset(w, r, rest)
}

// serveAsset serves rest, which is "version/name".
func serveAsset(w http.ResponseWriter, r *http.Request, rest string) {
	version, name, _ := strings.Cut(rest, "/")
	file, ok := assets().files[name]
	if !ok || version != assets().version {
		w.Header().Set("Cache-Control", "no-store")
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", file.mime)
	send(w, r, file.plain, func() []byte { return file.small })
}

// send writes a whole body, in the smaller form where the client takes it.
func send(w http.ResponseWriter, r *http.Request, plain []byte, small func() []byte) {
	sendStatus(w, r, http.StatusOK, plain, small)
}

func sendStatus(w http.ResponseWriter, r *http.Request, status int, plain []byte, small func() []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	body := plain
	if acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		body = small()
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}
