package aigateway

import (
	"slices"
	"strconv"
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
)

// folderKeys are the folders of records by the names that places have for them.
var folderKeys = map[string]string{mainFolder: "main", mediaFolder: "media", incompleteFolder: "incomplete", completionsFolder: "completions"}

// recordName is an hourly file, packed or not.
type recordName struct {
	folder string // one of recordFolders
	name   hourly.Name
}

func (n recordName) String() string { return n.folder + "/" + n.name.String() }

// recordPlace is a byte of a file as it is when it is not packed.
type recordPlace struct {
	recordName
	offset int64 // -1 for the end, wherever it is
}

const (
	// maxPlaces bounds the files of one hour that are looked at.
	maxPlaces = 64
	// maxPlaceText bounds a text that names places, in bytes.
	maxPlaceText = 4096
)

// formatPlaces writes places in files of one hour: 20260314_15,main.jsonl@812,media.image-2.jsonl@0
func formatPlaces(hour hourly.Hour, places ...recordPlace) string {
	var text strings.Builder
	text.WriteString(hour.String())
	for _, p := range places {
		text.WriteString("," + folderKeys[p.folder] + strings.TrimPrefix(p.name.String(), hour.String()) + "@")
		if p.offset >= 0 {
			text.WriteString(strconv.FormatInt(p.offset, 10))
		}
	}
	return text.String()
}

// parsePlaces reads what formatPlaces writes.
func parsePlaces(text string) (hour hourly.Hour, places []recordPlace, ok bool) {
	if len(text) > maxPlaceText {
		return 0, nil, false
	}
	head, rest, more := strings.Cut(text, ",")
	name, ok := hourly.ParseName(head + ".jsonl")
	if !ok || name.Suffix != "" || name.Index != 1 {
		return 0, nil, false
	}
	for more {
		var one string
		one, rest, more = strings.Cut(rest, ",")
		p, ok := parsePlace(head, one)
		if !ok || len(places) == maxPlaces || slices.ContainsFunc(places, func(q recordPlace) bool { return p.recordName == q.recordName }) {
			return 0, nil, false
		}
		places = append(places, p)
	}
	return name.Hour, places, true
}

func parsePlace(hour, text string) (p recordPlace, ok bool) {
	file, offset, found := strings.Cut(text, "@")
	end := strings.IndexAny(file, ".-")
	if !found || end < 0 {
		return p, false
	}
	for folder, key := range folderKeys {
		if key == file[:end] {
			p.folder = folder
		}
	}
	p.name, ok = hourly.ParseName(hour + file[end:])
	if offset == "" {
		p.offset = -1
		return p, ok && p.folder != "" && p.name.Ext == ".jsonl"
	}
	n, err := strconv.ParseUint(offset, 10, 62)
	p.offset = int64(n)
	return p, ok && p.folder != "" && p.name.Ext == ".jsonl" && err == nil && strconv.FormatUint(n, 10) == offset
}
