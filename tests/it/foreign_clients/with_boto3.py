"""Uses the store as a program on boto3 would: argv is a large file and a bucket."""
import filecmp
import sys
import urllib.request

import boto3
from botocore.exceptions import ClientError

large, bucket = sys.argv[1:]
s3 = boto3.client("s3")


def refused(status, call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error
    else:
        raise AssertionError(f"{call} {arguments} was not refused")


for key in ["plain", "a b+c%2F", "café/日本/🦀", "//x/../y", "tab\tand\nnewline", "<&amp;>"]:
    put = s3.put_object(Bucket=bucket, Key="odd/" + key, Body=key.encode(), Metadata={"who": "me"})
    got = s3.get_object(Bucket=bucket, Key="odd/" + key)
    assert got["Body"].read() == key.encode() and got["ETag"] == put["ETag"]
    assert got["Metadata"] == {"who": "me"}
    copy = s3.copy_object(Bucket=bucket, Key="copy/" + key, CopySource={"Bucket": bucket, "Key": "odd/" + key})
    assert copy["CopyObjectResult"]["ETag"] == put["ETag"]

pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="odd/", PaginationConfig={"PageSize": 2})
keys = [entry["Key"] for page in pages for entry in page["Contents"]]
assert len(keys) == 6 and keys == sorted(keys, key=str.encode), keys

s3.upload_file(large, bucket, "large")
assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-6"')
s3.download_file(bucket, "large", large + ".back")
assert filecmp.cmp(large, large + ".back", shallow=False)
s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "large copy")

refused(412, s3.put_object, Key="large", Body=b"", IfNoneMatch="*")
refused(412, s3.put_object, Key="large", Body=b"", IfMatch='"0123"')
refused(404, s3.get_object, Key="absent")
refused(304, s3.get_object, Key="large", IfNoneMatch=s3.head_object(Bucket=bucket, Key="large")["ETag"])
refused(501, s3.put_object_tagging, Key="large", Tagging={"TagSet": []})
refused(501, s3.put_object, Key="x", Body=b"", ServerSideEncryption="AES256")

url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "odd/a b+c%2F"}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"a b+c%2F"

found = [{"Key": entry["Key"]} for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": found})
assert len(answer["Deleted"]) == len(found) and "Errors" not in answer, answer
assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
print("all is well")
