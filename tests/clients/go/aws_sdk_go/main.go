// aws-sdk-go-v2 against a server, called by tests/clients.sh. The client chooses path style by itself, as the endpoint
// is an address.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"strata-clients/checks"
)

var (
	ctx    = context.Background()
	bucket = aws.String("clients-aws-sdk-go")
	client = connect()
	big    = checks.Random(checks.BigBytes)
)

func connect() *s3.Client {
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		panic(err)
	}
	return s3.NewFromConfig(settings, func(options *s3.Options) { options.BaseEndpoint = aws.String(checks.Endpoint) })
}

func put(key string, body []byte) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

func same(key string, sent []byte) error {
	output, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("get %q: %w", key, err)
	}
	defer output.Body.Close()
	got, err := io.ReadAll(output.Body)
	if err != nil {
		return err
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
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket})
	return err
}

func upload() error {
	input := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("big"), Body: bytes.NewReader(big)}
	if _, err := manager.NewUploader(client).Upload(ctx, input); err != nil {
		return err
	}
	return same("big", big)
}

// A reader that cannot go back makes the client send chunks with a trailer.
func uploadStream() error {
	input := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("stream"), Body: io.MultiReader(bytes.NewReader(big))}
	if _, err := manager.NewUploader(client).Upload(ctx, input); err != nil {
		return err
	}
	return same("stream", big)
}

func download() error {
	buffer := manager.NewWriteAtBuffer(nil)
	_, err := manager.NewDownloader(client).Download(ctx, buffer, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("big")})
	if err != nil {
		return err
	}
	return checks.Same("big", buffer.Bytes(), big)
}

func rangeAndHead() error {
	input := &s3.GetObjectInput{Bucket: bucket, Key: aws.String("big"), Range: aws.String("bytes=5242875-5242884")}
	output, err := client.GetObject(ctx, input)
	if err != nil {
		return err
	}
	defer output.Body.Close()
	got, err := io.ReadAll(output.Body)
	if err != nil {
		return err
	}
	if err := checks.Same("range", got, big[5242875:5242885]); err != nil {
		return err
	}
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("big")})
	if err == nil && *head.ContentLength != int64(len(big)) {
		err = fmt.Errorf("size %d", *head.ContentLength)
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
	listed, err := list("odd/")
	wanted := slices.Sorted(slices.Values(checks.OddKeys))
	if err == nil && !slices.Equal(listed, wanted) {
		err = fmt.Errorf("listed %q", listed)
	}
	return err
}

func list(prefix string) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range page.Contents {
			keys = append(keys, *object.Key)
		}
	}
	return keys, nil
}

// The client escapes nothing in a copy source; its document says to do so.
func copies() error {
	for key, escaped := range map[string]string{"copy/a b": "copy/a%20b", "copy/a+b": "copy/a%2Bb"} {
		if err := put(key, []byte(key)); err != nil {
			return err
		}
		input := &s3.CopyObjectInput{Bucket: bucket, Key: aws.String(key + ".copy"), CopySource: aws.String(*bucket + "/" + escaped)}
		if _, err := client.CopyObject(ctx, input); err != nil {
			return err
		}
		if err := same(key+".copy", []byte(key)); err != nil {
			return err
		}
	}
	return nil
}

func presigned() error {
	signer := s3.NewPresignClient(client)
	signed, err := signer.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("presigned")})
	if err != nil {
		return err
	}
	body := checks.Random(5000)
	if err := checks.Send(signed.URL, body); err != nil {
		return err
	}
	signed, err = signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("presigned")})
	if err != nil {
		return err
	}
	got, err := checks.Fetch(signed.URL)
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
	keys, err := list("many/")
	if err != nil || len(keys) != checks.ManyKeys {
		return fmt.Errorf("%d keys: %v", len(keys), err)
	}
	folders, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Delimiter: aws.String("/")})
	if err != nil {
		return err
	}
	for _, folder := range folders.CommonPrefixes {
		if *folder.Prefix == "many/" {
			return nil
		}
	}
	return fmt.Errorf("no folder many/")
}

// What mountpoint-s3 asks of every list.
func optionalAttributes() error {
	input := &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("big")}
	input.OptionalObjectAttributes = []types.OptionalObjectAttributes{types.OptionalObjectAttributesRestoreStatus}
	page, err := client.ListObjectsV2(ctx, input)
	if err == nil && len(page.Contents) != 1 {
		err = fmt.Errorf("%d keys", len(page.Contents))
	}
	return err
}

func errorsByName() error {
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("missing")})
	var noKey *types.NoSuchKey
	if !errors.As(err, &noKey) {
		return fmt.Errorf("GET of a missing key: %w", err)
	}
	_, err = client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("missing")})
	var notFound *types.NotFound
	if !errors.As(err, &notFound) {
		return fmt.Errorf("HEAD of a missing key: %w", err)
	}
	input := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("big"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}
	_, err = client.PutObject(ctx, input)
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != "PreconditionFailed" {
		return fmt.Errorf("PUT onto a key that is there: %w", err)
	}
	return nil
}

func removeAll() error {
	keys, err := list("")
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(keys, 1000) {
		var doomed []types.ObjectIdentifier
		for _, key := range batch {
			doomed = append(doomed, types.ObjectIdentifier{Key: aws.String(key)})
		}
		output, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: doomed}})
		if err != nil || len(output.Errors) != 0 || len(output.Deleted) != len(batch) {
			return fmt.Errorf("%+v: %v", output, err)
		}
	}
	if keys, err := list(""); err != nil || len(keys) != 0 {
		return fmt.Errorf("left: %q %v", keys, err)
	}
	_, err = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	return err
}

func main() {
	checks.Main("aws_sdk_go", []checks.Case{
		{Name: "make a bucket", Run: makeBucket},
		{Name: "put and get an empty body", Run: putAndGet("empty", 0)},
		{Name: "put and get 5 kB", Run: putAndGet("dir/small", 5000)},
		{Name: "put and get 100 KiB", Run: putAndGet("dir/medium", 100<<10)},
		{Name: "upload 20 MiB in parts", Run: upload},
		{Name: "upload 20 MiB from a stream", Run: uploadStream},
		{Name: "download 20 MiB in parts", Run: download},
		{Name: "a range, and the size", Run: rangeAndHead},
		{Name: "an empty body, then one of 100 bytes", Run: emptyThenBody},
		{Name: "odd keys", Run: oddKeys},
		{Name: "copy names with a space and with a plus", Run: copies},
		{Name: "presigned PUT and GET", Run: presigned},
		{Name: "list 1,001 keys by pages and by folder", Run: manyKeys},
		{Name: "list with optional attributes", Run: optionalAttributes},
		{Name: "errors by their names", Run: errorsByName},
		{Name: "delete all and remove the bucket", Run: removeAll},
	})
}
