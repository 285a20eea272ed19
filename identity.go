package aigateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// entryID says which instance an entry of the file is.
type entryID struct {
	id    string // of the instance, 12 hex digits
	place string // of all instances of its URL and model
}

// identify returns the ID of every entry, in order. An ID hashes the normal form of
// the URL and the model, so that weight, key and headers can change without the
// instance losing its history; entries that share both are told apart by their
// keys. Before is the snapshot in force, or nil: entries that go on from there keep
// their ID, also when the number of those that share URL and model changes.
func identify(entries []*InstanceConfig, before *snapshot) []entryID {
	known := make([]entryID, len(entries))
	byPlace := make(map[string][]int, len(entries))
	for n, c := range entries {
		known[n].place = c.place()
		byPlace[known[n].place] = append(byPlace[known[n].place], n)
	}
	old := make(map[string][]*instance)
	if before != nil {
		for _, i := range before.fleet.everyone() {
			old[i.state.place] = append(old[i.state.place], i)
		}
	}
	for place, members := range byPlace {
		match(entries, members, old[place], known)
	}
	return known
}

// match sets the IDs of members, the entries of one place, by the instances that
// were there. Each goes on as the one with the same key, and else, for its key may
// have been changed, as the first that is left.
func match(entries []*InstanceConfig, members []int, old []*instance, known []entryID) {
	byKey := make(map[[sha256.Size]byte]string, len(old))
	for _, i := range old {
		byKey[i.state.key] = i.id
	}
	used := make(map[string]bool, len(members))
	var others []int
	for _, n := range members {
		id, ok := byKey[sha256.Sum256([]byte(entries[n].APIKey))]
		if !ok {
			others = append(others, n)
			continue
		}
		known[n].id, used[id] = id, true
	}
	old = slices.DeleteFunc(slices.Clone(old), func(i *instance) bool { return used[i.id] })
	for k, n := range others {
		c, place := entries[n], known[n].place
		id := place
		switch {
		case k < len(old):
			id = old[k].id
		case len(members) > 1:
			id = hashID(place, c.APIKey)
		}
		for tries := 1; used[id]; tries++ { // by one whose key was this one
			id = hashID(place, c.APIKey, strconv.Itoa(tries))
		}
		known[n].id, used[id] = id, true
	}
}

// place returns the hash of an entry's URL and model, and of the address that stands for
// its host, if it does not connect there itself.
func (c *InstanceConfig) place() string {
	if c.address != "" {
		return hashID(normalURL(c.URL), c.ModelName, c.address)
	}
	return hashID(normalURL(c.URL), c.ModelName)
}

func hashID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// normalURL writes equal endpoints equally: case of scheme and host, default
// port and final slashes make no difference.
func normalURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return strings.ToLower(u.Scheme+"://"+dialAddress(u)) + strings.TrimRight(u.Path, "/")
}
