package sharegpt

import (
	"bytes"
	"slices"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/rawjson"
)

// mediaKind is a kind of media with the column that lists it and the placeholder
// that stands for an item in a text.
type mediaKind struct{ name, column, tag, escaped string }

// mediaKinds are in the order of their columns.
var mediaKinds = [...]mediaKind{
	{"image", "images", "<image>", "&lt;image&gt;"},
	{"audio", "audios", "<audio>", "&lt;audio&gt;"},
	{"video", "videos", "<video>", "&lt;video&gt;"},
}

const (
	image = iota
	audio
	video
)

// mediaOf returns the kind and address of a part that is a medium, in any
// dialect's form, and whether the part is one at all. An address is a URL, which
// may be a data URL; it is empty for a file that only the server knows.
func mediaOf(kind string, part []byte) (medium int, url string, ok bool) {
	switch kind {
	case "image_url", "input_image", "image":
		medium = image
	case "input_audio", "audio_url", "audio":
		medium = audio
	case "video_url", "input_video", "video":
		medium = video
	default:
		return 0, "", false
	}
	for m := rawjson.Object(part); m.Next(); {
		switch string(m.Key) {
		case "image_url", "audio_url", "video_url", "input_audio", "input_video", "image", "audio", "video", "source", "url", "data":
			if found := address(medium, m.Value); found != "" {
				url = found
			}
		}
	}
	return medium, url, true
}

// address returns the URL that a value holds: as a string, as the member url, or
// as data with its format (OpenAI's audio) or media_type (Anthropic's images).
func address(medium int, value []byte) string {
	if rawjson.IsString(value) {
		return rawjson.Text(value)
	}
	var data, format, media, url []byte
	for m := rawjson.Object(value); m.Next(); {
		switch string(m.Key) {
		case "url":
			url = m.Value
		case "data":
			data = m.Value
		case "format":
			format = m.Value
		case "media_type":
			media = m.Value
		}
	}
	if len(url) > 2 || len(data) <= 2 {
		return rawjson.Text(url)
	}
	kind := rawjson.Text(media)
	if kind == "" {
		kind = mediaKinds[medium].name + "/" + rawjson.Text(format)
	}
	return "data:" + kind + ";base64," + rawjson.Text(data)
}

// suffix returns the kinds of media in a conversation, sorted and joined, and
// empty if there are none.
func (v *conversation) suffix() string {
	var kinds []string
	for _, i := range [...]int{audio, image, video} {
		if len(v.media[i]) > 0 {
			kinds = append(kinds, mediaKinds[i].name)
		}
	}
	return strings.Join(kinds, "+")
}

// hasLiterals reports whether texts hold placeholders that stand for nothing.
func (v *conversation) hasLiterals() bool {
	text := v.text
	for _, q := range v.quotes {
		text = rawjson.AppendRecoded(slices.Clip(text), q.text)
	}
	for i, kind := range mediaKinds {
		if bytes.Count(text, []byte(kind.tag)) != len(v.media[i]) {
			return true
		}
	}
	return false
}
