// The requests of Terraform's S3 backend with use_lockfile, made with the client that it uses: a state is put with a
// SHA-256, its lock is a .tflock object put with If-None-Match, whose holder is read back before it is deleted.
// Terraform itself is on no package registry.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"strata-clients/checks"
)

const lockers = 16

var (
	ctx    = context.Background()
	bucket = aws.String("clients-terraform")
	state  = aws.String("env:/prod/terraform.tfstate")
	lock   = aws.String("env:/prod/terraform.tfstate.tflock")
	client = connect()
	first  = checks.Random(300 << 10)
)

func connect() *s3.Client {
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		panic(err)
	}
	return s3.NewFromConfig(settings, func(options *s3.Options) {
		options.BaseEndpoint = aws.String(checks.Endpoint)
		options.UsePathStyle = true
	})
}

func upload(key *string, body []byte, onlyNew bool) error {
	input := &s3.PutObjectInput{
		Bucket: bucket, Key: key, Body: bytes.NewReader(body), ContentType: aws.String("application/json"),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}
	if onlyNew {
		input.IfNoneMatch = aws.String("*")
	}
	_, err := manager.NewUploader(client).Upload(ctx, input)
	return err
}

func holds(key *string, sent []byte) error {
	buffer := manager.NewWriteAtBuffer(nil)
	if _, err := manager.NewDownloader(client).Download(ctx, buffer, &s3.GetObjectInput{Bucket: bucket, Key: key}); err != nil {
		return err
	}
	return checks.Same(*key, buffer.Bytes(), sent)
}

func held(err error) error {
	var refused smithy.APIError
	if errors.As(err, &refused) && refused.ErrorCode() == "PreconditionFailed" {
		return nil
	}
	return fmt.Errorf("PreconditionFailed expected: %w", err)
}

func unlock(holder string) error {
	output, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: lock})
	if err != nil {
		return err
	}
	defer output.Body.Close()
	body, err := io.ReadAll(output.Body)
	if err != nil {
		return err
	}
	if err := checks.Same("lock", body, []byte(holder)); err != nil {
		return err
	}
	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: lock})
	return err
}

func start() error {
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		return err
	}
	_, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: state})
	var missing *types.NotFound
	if !errors.As(err, &missing) {
		return fmt.Errorf("NotFound expected: %w", err)
	}
	return nil
}

func putState() error {
	if err := upload(state, first, false); err != nil {
		return err
	}
	return holds(state, first)
}

func lockTwice() error {
	if err := upload(lock, []byte("one"), true); err != nil {
		return err
	}
	if err := held(upload(lock, []byte("two"), true)); err != nil {
		return err
	}
	return holds(lock, []byte("one"))
}

func changeState() error {
	second := checks.Random(200 << 10)
	if err := upload(state, second, false); err != nil {
		return err
	}
	return holds(state, second)
}

func race() error {
	var wait sync.WaitGroup
	results := make([]error, lockers)
	for number := range lockers {
		wait.Go(func() { results[number] = upload(lock, fmt.Appendf(nil, "locker %d", number), true) })
	}
	wait.Wait()
	winner := -1
	for number, result := range results {
		switch {
		case result == nil && winner >= 0:
			return fmt.Errorf("both %d and %d hold the lock", winner, number)
		case result == nil:
			winner = number
		default:
			if err := raced(result); err != nil {
				return err
			}
		}
	}
	return unlock(fmt.Sprintf("locker %d", winner))
}

// raced accepts what Amazon answers to one of several conditional writes at once, too: 409.
func raced(err error) error {
	var refused smithy.APIError
	if errors.As(err, &refused) && refused.ErrorCode() == "ConditionalRequestConflict" {
		return nil
	}
	return held(err)
}

func workspaces() error {
	listed, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("env:/"), MaxKeys: aws.Int32(1000)})
	if err == nil && len(listed.Contents) != 1 {
		err = fmt.Errorf("%d keys", len(listed.Contents))
	}
	return err
}

func remove() error {
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: state}); err != nil {
		return err
	}
	_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	return err
}

func main() {
	checks.Main("terraform_lock", []checks.Case{
		{Name: "make a bucket, no state is there", Run: start},
		{Name: "put and get a state", Run: putState},
		{Name: "a lock that is held is refused", Run: lockTwice},
		{Name: "put the state again", Run: changeState},
		{Name: "unlock", Run: func() error { return unlock("one") }},
		{Name: "of 16 lockers one wins", Run: race},
		{Name: "list the workspaces", Run: workspaces},
		{Name: "remove the state and the bucket", Run: remove},
	})
}
