"""Backups: the bucket that all stores of a stack are saved to."""

from typing import Annotated

from constructs.endpoint import port_of
from constructs.network_flow import ANYWHERE, Flow
from constructs.reference import Reference, expression
from constructs.settings import Form, Name, Settings

# The keys of the Secret, as CloudNativePG's chart reads them.
BUCKET_KEYS = ("ACCESS_KEY_ID", "ACCESS_SECRET_KEY")

BucketName = Annotated[str, Form("([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?", 'the name of a bucket, or ""')]
BucketEndpoint = Annotated[
    str, Form("(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?)?", 'an address such as https://s3.example.com, or ""')
]
Region = Annotated[str, Form("[a-z0-9-]{1,40}", "a region such as eu-central-1, or what the store takes for one")]


class BackupSettings(Settings):
    """A bucket of a store that speaks S3. Each store has a folder of its own in it."""

    bucket: BucketName = ""
    """The bucket's name; empty: what needs a bucket is not saved."""
    endpoint: BucketEndpoint = ""
    """The store's address; empty: Amazon's, of the region."""
    region: Region = "us-east-1"
    """The bucket's region."""
    secret: Name = "backup-bucket"  # noqa: S105 (a Secret's name)
    """The Secret with the keys ACCESS_KEY_ID and ACCESS_SECRET_KEY; it must be there where a bucket is given."""

    def has_bucket(self) -> Reference:
        """Return whether a bucket is given."""
        return expression('{} != ""', self.bucket)

    def values(self, folder: str) -> dict[str, str]:
        """Return the value `bucket` of the charts that save to a folder of it."""
        return {
            "name": self.bucket,
            "folder": folder,
            "endpoint": self.endpoint,
            "region": self.region,
            "secret": self.secret,
        }

    def flow(self) -> Flow:
        """Return the way to the bucket; without one, no more than the way to the API server."""
        port = expression('{} == "" ? 6443 : {}', self.bucket, port_of(self.endpoint))
        return Flow(ANYWHERE, ports=(port,))
