"""`kinema classify`, `kinema embed` and `kinema search`: what a network sees in pictures and clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from kinema.cli import making
from kinema.cli.outputs import check_output
from kinema.cli.shell import FAILED, Device, Json, Weights, print_json
from kinema.errors import UserError

DEFAULT: Final = "omnivore"
EMBEDDINGS: Final = (".npz", ".npy", ".safetensors", ".csv")
Model = Annotated[
    str,
    typer.Option(
        "--model", help="A model that sees: omnivore, swag, maws, omnimae, early-conv, or ROOM/NAME."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there already.")]


def classify(
    files: Annotated[list[Path], typer.Argument(help="Pictures or clips.", show_default=False)],
    model: Model = DEFAULT,
    top: Annotated[int, typer.Option("--top", "-k", help="How many classes to show.")] = 5,
    depth: Annotated[
        Path | None,
        typer.Option(
            "--depth", help="Depth of the picture, as `kinema depth` writes it, for models that take it."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Names of the classes in their order, one a line of a text file."),
    ] = None,
    weights: Weights = "nano",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say what a picture or a clip shows.

    The nano models know the Small World's things: expect them to be wrong about photos. A published model knows photos:
    give its name and the file that you downloaded, as in --model omnivore/swin_b --weights FILE.
    """
    if top < 1:
        raise UserError(f"--top is {top} and must be at least 1")
    if depth is not None and len(files) > 1:
        raise UserError("--depth belongs to one picture: name one file")
    names = None if labels is None else read_labels(labels)
    check_readable(files)
    see = open_model(model, weights, device)

    def one(file: Path) -> dict[str, Any]:
        from kinema.vision import read_media

        media = read_media(file, depth)
        guesses = see.classify(media, top, names=names)
        found = [
            {"label": guess.label, "share": round(guess.share, 4), "class": guess.number} for guess in guesses
        ]
        return {"file": str(file), "kind": media.kind, "classes": found, "notes": list(see.notes(media))}

    made, failed = each(files, one, as_json)
    if as_json:
        print_json({"model": see.name, "files": made, "failed": failed})
    else:
        for each_file in made:
            if len(files) > 1:
                print(each_file["file"])
            for guess in each_file["classes"]:
                print(f"{100 * guess['share']:5.1f} %  {guess['label']}")
        report(made, failed)
    if failed:
        raise typer.Exit(FAILED)


def embed(
    files: Annotated[
        list[Path], typer.Argument(help="Pictures, clips or folders of them.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The file to write: .npz, .safetensors, .csv, or .npy (numbers alone)."
        ),
    ] = Path("embeddings.npz"),
    model: Model = DEFAULT,
    dense: Annotated[
        bool, typer.Option("--dense", help="A vector for every place of each file, not one for the whole.")
    ] = False,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Bring vectors to length 1, so that products are cosines.")
    ] = False,
    weights: Weights = "nano",
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Turn pictures and clips into vectors.

    `names` and `features` stand in the file; with --dense an array for each name, whose axes are vector, rows and
    columns, or vector, time, rows and columns.
    """
    check_output(output, EMBEDDINGS, overwrite)
    if dense and output.suffix.lower() in (".csv", ".npy"):
        raise UserError(
            f"'{output}' cannot hold arrays of several sizes: write dense vectors as .npz or .safetensors"
        )
    paths = listed(files)
    check_readable(paths)
    see = open_model(model, weights, device)

    def one(file: Path) -> dict[str, Any]:
        from kinema.vision import read_media

        media = read_media(file)
        vectors = see.embed_dense(media) if dense else see.embed([media])[0]
        return {"file": str(file), "vectors": vectors, "notes": list(see.notes(media))}

    made, failed = each(paths, one, as_json)
    if made:
        from kinema.vision.embeddings import write_embeddings

        write_embeddings(
            output,
            [each_file["file"] for each_file in made],
            [each_file.pop("vectors") for each_file in made],
            {"model": see.name, "weights_hash": see.weights_hash},
            normalise=normalise,
            overwrite=overwrite,
        )
    if as_json:
        print_json(
            {"model": see.name, "output": str(output) if made else None, "files": made, "failed": failed}
        )
    else:
        if made:
            print(f"wrote {output} ({len(made)} file{'s' if len(made) > 1 else ''})")
        report(made, failed)
    if failed:
        raise typer.Exit(FAILED)


def search(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures and clips.", show_default=False)],
    query: Annotated[Path, typer.Argument(help="A picture or a clip to look for.", show_default=False)],
    count: Annotated[int, typer.Option("--top", "-k", help="How many files to show.")] = 5,
    model: Model = DEFAULT,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            help="A .safetensors file that keeps the folder's embeddings from one search to the next.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Also write a picture of the query and of what was found (.png)."),
    ] = None,
    weights: Weights = "nano",
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the files of a folder that are most like a picture or a clip, by the cosine of their embeddings."""
    from kinema.vision.media import media_in

    if count < 1:
        raise UserError(f"--top is {count} and must be at least 1")
    if sheet is not None:
        check_output(sheet, (".png",), overwrite)
    known = open_index(index)
    check_readable([query])
    files = media_in(folder)
    see = open_model(model, weights, device)
    wanted = see.embed([query])
    progress = making.counter("file ", len(files), shown=not as_json and len(files) > 1)

    from kinema.eval.neighbours import nearest
    from kinema.vision.index import index_folder

    found, failed = index_folder(see, folder, known, None if progress is None else lambda k, _: progress(k))
    making.end_counter(progress)
    if index is not None:
        found.write(index)
    others = [k for k, name in enumerate(found.names) if not _same(folder / name, query)]
    if not others:
        raise UserError(f"'{folder}' holds nothing but the picture that is looked for: give another folder")
    near = nearest(wanted, found.features[others], min(count, len(others)))
    results = [
        {"file": str(folder / found.names[others[place]]), "similarity": round(likeness, 4)}
        for place, likeness in zip(near.indices[0].tolist(), near.similarity[0].tolist(), strict=True)
    ]
    if sheet is not None:
        from kinema.vision.sheet import search_sheet

        found_files = [(Path(one["file"]), one["similarity"]) for one in results]
        search_sheet(query, found_files).write(sheet, overwrite=overwrite)
    if as_json:
        print_json({"model": see.name, "results": results, "failed": list(failed.values())})
    else:
        for result in results:
            print(f"{result['similarity']:7.4f}  {result['file']}")
        report([], list(failed.values()))
        if sheet is not None:
            print(f"wrote {sheet}")
    if failed:
        raise typer.Exit(FAILED)


def open_model(model: str, weights: str, device: str) -> Any:
    """Load a model that sees. Tests put a tiny one here."""
    from kinema import hub

    entry, _ = hub.located(model)
    if entry.room is None:
        seeing = ", ".join(one.name for one in hub.MODELS.values() if one.room is not None)
        raise UserError(f"{entry.name} does not look at pictures in this way: choose one of {seeing}")
    return hub.load(model, weights, device)


def check_readable(files: list[Path]) -> None:
    """Refuse a single file that is not there before the model is opened; of several each is met in its turn."""
    from kinema.media.files import opened, sniff

    if len(files) == 1 and not files[0].is_dir():
        with opened(files[0]) as handle:
            sniff(handle, str(files[0]))


def open_index(path: Path | None) -> Any:
    """The index that a file keeps, or None where there is none yet."""
    if path is None:
        return None
    from kinema.vision.index import read_index

    if path.exists():
        return read_index(path)
    check_output(path, (".safetensors",), overwrite=False)
    return None


def listed(files: list[Path]) -> list[Path]:
    """Files, and for a folder the pictures and clips in it."""
    from kinema.vision.media import media_in

    return [each_file for file in files for each_file in (media_in(file) if file.is_dir() else [file])]


def each(files: list[Path], one: Any, as_json: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """What `one` makes of every file, and the sentences of those that failed; a single failure is an error."""
    progress = making.counter("file ", len(files), shown=not as_json and len(files) > 1)
    made, failed = list[dict[str, Any]](), list[str]()
    for number, file in enumerate(files, 1):
        if progress is not None:
            progress(number)
        try:
            made.append(one(file))
        except UserError as error:
            if len(files) == 1:
                raise
            failed.append(" ".join(str(error).split()))
    making.end_counter(progress)
    return made, failed


def report(made: list[dict[str, Any]], failed: list[str]) -> None:
    """Notes and failures, on the error stream."""
    for one in made:
        for note in one["notes"]:
            print(f"kinema: {one['file']}: {note}", file=sys.stderr)
    for sentence in failed:
        print(f"kinema: {sentence}", file=sys.stderr)


def read_labels(path: Path) -> list[str]:
    """Names of classes from a text file, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is no text in UTF-8: give names of classes, one a line") from error
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"'{path}' names no classes: give one name a line")
    return names


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
