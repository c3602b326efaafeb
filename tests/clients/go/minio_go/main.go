// minio-go against a server, called by tests/clients.sh. The same program is built with two versions: before 7.4 the
// client did not sign Content-Type.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"strata-clients/checks"
)

var (
	ctx    = context.Background()
	name   = os.Args[1]
	bucket = "clients-" + strings.ReplaceAll(name, "_", "-")
	client = connect()
	big    = checks.Random(checks.BigBytes)
)

func connect() *minio.Client {
	client, err := minio.New(checks.Host, &minio.Options{Creds: credentials.NewStaticV4(checks.AccessKey, checks.SecretKey, "")})
	if err != nil {
		panic(err)
	}
	return client
}

func put(key string, body []byte) error {
	_, err := client.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	if err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

func get(key string, options minio.GetObjectOptions) ([]byte, error) {
	object, err := client.GetObject(ctx, bucket, key, options)
	if err != nil {
		return nil, err
	}
	defer object.Close()
	return io.ReadAll(object)
}

func same(key string, sent []byte) error {
	got, err := get(key, minio.GetObjectOptions{})
	if err != nil {
		return fmt.Errorf("get %q: %w", key, err)
	}
	return checks.Same(key, got, sent)
}

func putAndGet(key string, size int) func() error {
	return func() error {
		body := checks.Random(size)
		if err := put(key, body); err != nil {
			return err
		}
		return same(key, body)
	}
}

func makeBucket() error {
	if err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil {
		return err
	}
	if exists, err := client.BucketExists(ctx, bucket); err != nil || !exists {
		return fmt.Errorf("exists: %v %v", exists, err)
	}
	return nil
}

func putBig() error {
	if err := put("big", big); err != nil {
		return err
	}
	return same("big", big)
}

func rangeAndHead() error {
	options := minio.GetObjectOptions{}
	if err := options.SetRange(16<<20-5, 16<<20+4); err != nil {
		return err
	}
	got, err := get("big", options)
	if err != nil {
		return err
	}
	if err := checks.Same("range", got, big[16<<20-5:16<<20+5]); err != nil {
		return err
	}
	info, err := client.StatObject(ctx, bucket, "big", minio.StatObjectOptions{})
	if err == nil && info.Size != int64(len(big)) {
		err = fmt.Errorf("size %d", info.Size)
	}
	return err
}

func contentTypeAndMetadata() error {
	options := minio.PutObjectOptions{ContentType: "text/x-strata", UserMetadata: map[string]string{"Colour": "green"}}
	if _, err := client.PutObject(ctx, bucket, "typed", strings.NewReader("x"), 1, options); err != nil {
		return err
	}
	info, err := client.StatObject(ctx, bucket, "typed", minio.StatObjectOptions{})
	if err == nil && (info.ContentType != "text/x-strata" || info.UserMetadata["Colour"] != "green") {
		err = fmt.Errorf("%q %v", info.ContentType, info.UserMetadata)
	}
	return err
}

func emptyThenBody() error {
	if err := put("kept", nil); err != nil {
		return err
	}
	return putAndGet("kept", 100)()
}

func oddKeys() error {
	for _, key := range checks.OddKeys {
		if err := put(key, []byte(key)); err != nil {
			return err
		}
	}
	for _, key := range checks.OddKeys {
		if err := same(key, []byte(key)); err != nil {
			return err
		}
	}
	listed, err := list(minio.ListObjectsOptions{Prefix: "odd/", Recursive: true})
	wanted := slices.Sorted(slices.Values(checks.OddKeys))
	if err == nil && !slices.Equal(listed, wanted) {
		err = fmt.Errorf("listed %q", listed)
	}
	return err
}

func list(options minio.ListObjectsOptions) ([]string, error) {
	var keys []string
	for object := range client.ListObjects(ctx, bucket, options) {
		if object.Err != nil {
			return nil, object.Err
		}
		keys = append(keys, object.Key)
	}
	return keys, nil
}

func copies() error {
	for _, key := range []string{"copy/a b", "copy/a+b"} {
		if err := put(key, []byte(key)); err != nil {
			return err
		}
	}
	for _, key := range []string{"copy/a b", "copy/a+b"} {
		to := minio.CopyDestOptions{Bucket: bucket, Object: key + ".copy"}
		if _, err := client.CopyObject(ctx, to, minio.CopySrcOptions{Bucket: bucket, Object: key}); err != nil {
			return err
		}
		if err := same(key+".copy", []byte(key)); err != nil {
			return err
		}
	}
	return nil
}

func compose() error {
	source := minio.CopySrcOptions{Bucket: bucket, Object: "big"}
	to := minio.CopyDestOptions{Bucket: bucket, Object: "composed"}
	if _, err := client.ComposeObject(ctx, to, source, source); err != nil {
		return err
	}
	return same("composed", append(slices.Clone(big), big...))
}

func presigned() error {
	address, err := client.PresignedPutObject(ctx, bucket, "presigned", time.Hour)
	if err != nil {
		return err
	}
	body := checks.Random(5000)
	if err := checks.Send(address.String(), body); err != nil {
		return err
	}
	address, err = client.PresignedGetObject(ctx, bucket, "presigned", time.Hour, url.Values{})
	if err != nil {
		return err
	}
	got, err := checks.Fetch(address.String())
	if err != nil {
		return err
	}
	return checks.Same("presigned", got, body)
}

func manyKeys() error {
	var wait sync.WaitGroup
	errs := make(chan error, 8)
	for worker := range 8 {
		wait.Go(func() {
			for number := worker; number < checks.ManyKeys; number += 8 {
				if err := put(fmt.Sprintf("many/%04d", number), nil); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wait.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	// WithMetadata adds ?metadata=true, which only MinIO knows.
	for _, options := range []minio.ListObjectsOptions{{}, {WithMetadata: true}, {UseV1: true}} {
		options.Prefix = "many/"
		keys, err := list(options)
		if err != nil || len(keys) != checks.ManyKeys {
			return fmt.Errorf("%d keys with %+v: %v", len(keys), options, err)
		}
	}
	folders, err := list(minio.ListObjectsOptions{})
	if err == nil && !slices.Contains(folders, "many/") {
		err = fmt.Errorf("no folder many/ in %q", folders)
	}
	return err
}

func removeAll() error {
	listed := client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true})
	for failure := range client.RemoveObjects(ctx, bucket, listed, minio.RemoveObjectsOptions{}) {
		return fmt.Errorf("%s: %w", failure.ObjectName, failure.Err)
	}
	if keys, err := list(minio.ListObjectsOptions{Recursive: true}); err != nil || len(keys) != 0 {
		return fmt.Errorf("left: %q %v", keys, err)
	}
	return client.RemoveBucket(ctx, bucket)
}

func main() {
	checks.Main(name, []checks.Case{
		{Name: "make a bucket", Run: makeBucket},
		{Name: "put and get an empty body", Run: putAndGet("empty", 0)},
		{Name: "put and get 5 kB", Run: putAndGet("dir/small", 5000)},
		{Name: "put and get 100 KiB", Run: putAndGet("dir/medium", 100<<10)},
		{Name: "put and get 20 MiB in parts", Run: putBig},
		{Name: "a range, and the size", Run: rangeAndHead},
		{Name: "content type and metadata", Run: contentTypeAndMetadata},
		{Name: "an empty body, then one of 100 bytes", Run: emptyThenBody},
		{Name: "odd keys", Run: oddKeys},
		{Name: "copy names with a space and with a plus", Run: copies},
		{Name: "compose 40 MiB of two copies", Run: compose},
		{Name: "presigned PUT and GET", Run: presigned},
		{Name: "list 1,001 keys by pages and by folder", Run: manyKeys},
		{Name: "delete all and remove the bucket", Run: removeAll},
	})
}
