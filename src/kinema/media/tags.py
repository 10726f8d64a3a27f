"""Reading provenance out of any file that kinema wrote, without decoding it."""

from __future__ import annotations

from kinema.errors import UserError
from kinema.media.files import PathLike, opened, sniff
from kinema.media.provenance import Provenance, unpack


def read_provenance(path: PathLike) -> Provenance | None:
    """The Provenance in an image, video or sound file, or None. Raises UserError when it is no media file."""
    name = str(path)
    with opened(path) as handle:
        kind = sniff(handle, name)
        if kind.family == "image":
            from kinema.media.stills import opened_picture, picture_comment

            with opened_picture(handle, name) as image:
                return unpack(picture_comment(image))[0]
        if kind.family == "video":
            from kinema.media.decode import movie_comment

            return unpack(movie_comment(handle, name))[0]
        import soundfile

        from kinema.media.sound import riff_comment

        comment = riff_comment(handle)
        if comment is None:
            try:
                with soundfile.SoundFile(handle) as file:
                    comment = file.comment
            except soundfile.SoundFileError as error:
                raise UserError(f"{name} is cut off or damaged ({error}): copy or make it again") from None
        return unpack(comment)[0]
