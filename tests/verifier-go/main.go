// A verifier of audit logs that shares nothing with retentiond: Go's own transparency log packages, as Debian packages them
// (golang-golang-x-mod-dev), and the few lines below, written from the C2SP specifications tlog-tiles, tlog-checkpoint and tlog-proof.
//
//	verifier log DIR VKEY                 checks every entry, every tile, the root and its signature
//	verifier proof FILE ENTRY VKEY        checks a .tlog-proof of the entry whose bytes are in the file ENTRY
//	verifier vectors SEED COUNT           prints proofs for trees of up to a thousand records, for others to compare theirs with
//
// Exit code 0: accepted; 1: refused, with the reason. It knows nothing of what entries mean.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "log":
		return checkLog(args[1], args[2])
	case len(args) == 4 && args[0] == "proof":
		return checkProof(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "vectors":
		return vectors(args[1], args[2])
	}
	return errors.New("usage: verifier log DIR VKEY | proof FILE ENTRY VKEY | vectors SEED COUNT")
}

// openCheckpoint checks the signature of a checkpoint and reads its three lines.
func openCheckpoint(msg []byte, vkey string) (tlog.Tree, error) {
	var tree tlog.Tree
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	signed, err := note.Open(msg, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tree, errors.New("checkpoint: not three lines")
	}
	if lines[0] != verifier.Name() {
		return tree, fmt.Errorf("checkpoint: of the log %q", lines[0])
	}
	if tree.N, err = number(lines[1]); err != nil {
		return tree, fmt.Errorf("checkpoint: size: %v", err)
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// number reads a decimal without sign and leading zeros.
func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text || n < 0 {
		return 0, fmt.Errorf("not a number: %q", text)
	}
	return n, nil
}

// memory holds the stored hashes of a tree.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m)) {
			return nil, fmt.Errorf("hash %d is not in the tree", index)
		}
		found[i] = m[index]
	}
	return found, nil
}

func (m *memory) add(n int64, record []byte) error {
	hashes, err := tlog.StoredHashes(n, record, *m)
	*m = append(*m, hashes...)
	return err
}

// folder reads the tiles of a log as the specification names them: without the height that Go's own paths have.
type folder string

func (f folder) Height() int { return height }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, full, err := f.read(strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1))
		if err != nil {
			return nil, err
		}
		want := tile.W * tlog.HashSize
		if len(data) != want && !(full && len(data) == width*tlog.HashSize) {
			return nil, fmt.Errorf("%v: %d bytes", tile.Path(), len(data))
		}
		all = append(all, data[:want])
	}
	return all, nil
}

// read reads a file, or the full one that took the place of a partial one, and says whether it did.
func (f folder) read(path string) (data []byte, full bool, err error) {
	data, err = os.ReadFile(filepath.Join(string(f), path))
	if at := strings.Index(path, ".p/"); errors.Is(err, os.ErrNotExist) && at > 0 {
		if data, err := os.ReadFile(filepath.Join(string(f), path[:at])); err == nil {
			return data, true, nil
		}
	}
	return data, false, err
}

func checkLog(dir, vkey string) error {
	msg, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(msg, vkey)
	if err != nil {
		return err
	}
	files := folder(dir)
	var hashes memory
	for n := int64(0); n < tree.N; {
		tile := tlog.Tile{H: height, L: 0, N: n / width, W: width}
		if left := tree.N - n; left < width {
			tile.W = int(left)
		}
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1)
		bundle, full, err := files.read(path)
		if err != nil {
			return err
		}
		count := 0
		for ; len(bundle) > 0; count++ {
			if len(bundle) < 2 || len(bundle)-2 < int(bundle[0])<<8|int(bundle[1]) {
				return fmt.Errorf("%s: entry %d is cut off", path, n)
			}
			length := int(bundle[0])<<8 | int(bundle[1])
			record := bundle[2 : 2+length]
			bundle = bundle[2+length:]
			if count >= tile.W {
				continue
			}
			if err := hashes.add(n, record); err != nil {
				return err
			}
			n++
		}
		if count != tile.W && !(full && count == width) {
			return fmt.Errorf("%s: %d entries", path, count)
		}
	}
	if tree.N == 0 {
		return errors.New("empty log")
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("root is %v, signed is %v", root, tree.Hash)
	}
	for _, tile := range tlog.NewTiles(height, 0, tree.N) {
		// The package also names every partial tile on the way to this size.
		if last := tree.N >> (height * tile.L) & (width - 1); tile.W < width && int64(tile.W) != last {
			continue
		}
		want, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return err
		}
		got, err := files.ReadTiles([]tlog.Tile{tile})
		if err != nil {
			return err
		}
		if !bytes.Equal(want, got[0]) {
			return fmt.Errorf("%s: not the hashes of what is below", tile.Path())
		}
	}
	// Once more the way a client of a log does it: from the tiles alone, each authenticated by the root.
	reader := tlog.TileHashReader(tree, files)
	for _, n := range []int64{0, tree.N / 3, tree.N / 2, tree.N - 1} {
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, hashes[tlog.StoredHashIndex(0, n)]); err != nil {
			return err
		}
	}
	fmt.Println("accepted:", tree.N, "entries")
	return nil
}

func checkProof(file, entry, vkey string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	record, err := os.ReadFile(entry)
	if err != nil {
		return err
	}
	parts := strings.SplitN(string(text), "\n\n", 2)
	lines := strings.Split(parts[0], "\n")
	if len(parts) != 2 || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return errors.New("not a tlog-proof")
	}
	index, err := number(strings.TrimPrefix(lines[1], "index "))
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil || base64.StdEncoding.EncodeToString(hash[:]) != line {
			return fmt.Errorf("not a hash: %q", line)
		}
		proof = append(proof, hash)
	}
	tree, err := openCheckpoint([]byte(parts[1]), vkey)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(record)); err != nil {
		return err
	}
	fmt.Println("accepted: entry", index, "of", tree.N)
	return nil
}

// vectors prints proofs for the trees over the records "0", "1", "2" and so on.
func vectors(seed, count string) error {
	start, err := number(seed)
	if err != nil {
		return err
	}
	many, err := number(count)
	if err != nil {
		return err
	}
	const most = 1000
	var hashes memory
	for n := int64(0); n < most; n++ {
		if err := hashes.add(n, []byte(strconv.FormatInt(n, 10))); err != nil {
			return err
		}
	}
	print := func(kind string, a, b int64, proof []tlog.Hash) {
		fmt.Print(kind, " ", a, " ", b)
		for _, hash := range proof {
			fmt.Print(" ", hex.EncodeToString(hash[:]))
		}
		fmt.Println()
	}
	dice := rand.New(rand.NewSource(start))
	for ; many > 0; many-- {
		size := 1 + dice.Int63n(most)
		n, first := dice.Int63n(size), 1+dice.Int63n(size)
		root, err := tlog.TreeHash(size, hashes)
		if err != nil {
			return err
		}
		fmt.Println("root", size, hex.EncodeToString(root[:]))
		record, err := tlog.ProveRecord(size, n, hashes)
		if err != nil {
			return err
		}
		print("inclusion", n, size, record)
		tree, err := tlog.ProveTree(size, first, hashes)
		if err != nil {
			return err
		}
		print("consistency", first, size, tree)
	}
	return nil
}
