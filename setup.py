"""Packages of openmm_nemo, the models installed with it, and the compiled integrator.

The integrator is built from the headers and libraries in the OpenMM wheel and needs only a C++ compiler. Without one,
the installation continues and the integrator driven from Python is used; with OPENMM_NEMO_REQUIRE_PLUGIN=1 it fails
instead.
"""

import os
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

SOURCES = Path("openmm_nemo/plugin/csrc")


def library(name: str, sources: list[str], platform: str | None = None) -> Extension:
    """Shared library that OpenMM loads, for a GPU platform or none; it contains no Python."""
    extension = Extension(
        f"openmm_nemo.plugin.lib.{name}",
        [f"{SOURCES}/{source}.cpp" for source in sources],
        libraries=["OpenMM"],
        depends=[str(path) for kind in ("*.h", "kernels/*.cc") for path in SOURCES.glob(kind)],
        language="c++",
        optional=os.environ.get("OPENMM_NEMO_REQUIRE_PLUGIN") != "1",
    )
    extension.platform = platform
    return extension


def gpu_library(platform: str) -> Extension:
    """The kernels for a GPU platform."""
    return library(f"libOpenMMNemo{platform}", ["CommonBasisKernel", "CommonNemoKernel"], platform)


class BuildPlugin(build_ext):
    """Builds openmm_nemo/plugin/lib/lib*.so."""

    def get_ext_filename(self, fullname: str) -> str:
        """File of a library, without the Python version that extension modules have in their names."""
        return os.path.join(*fullname.split(".")) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one library; every failure is a CompileError, which ``optional`` tolerates."""
        try:
            self._build(
                ext, Path(self.build_temp) / ext.name, Path(self.get_ext_fullpath(ext.name))
            )
        except Exception as error:
            raise CompileError(f"{ext.name} was not built: {error}") from error

    def _build(self, ext: Extension, objects_folder: Path, target: Path) -> None:
        import openmm.version

        openmm_libraries = Path(openmm.version.openmm_library_path)
        # Its memory layout is that of this release.
        macros = [("OPENMM_NEMO_BUILT_FOR", f'"{openmm.version.short_version}"')]
        libraries, folders, links = ext.libraries, [str(openmm_libraries), str(target.parent)], []
        if ext.platform is not None:
            macros.append((f"OPENMM_NEMO_{ext.platform.upper()}", None))
            libraries = [*libraries, "OpenMMNemo"]
            links = ["-Wl,--no-as-needed", str(self._stand_in(f"libOpenMM{ext.platform}.so"))]
        objects = []
        for source in ext.sources:
            # Its loops call the vector functions of the C library. Everything else respects NaN and infinity.
            fast = ["-ffast-math"] if source.endswith("VectorMath.cpp") else []
            headers = ["-isystem", str(openmm_libraries.parent / "include")]
            objects += self.compiler.compile(
                [source],
                output_dir=str(objects_folder),
                macros=macros,
                extra_postargs=["-std=c++17", "-g0", "-O3", "-fno-math-errno", *headers, *fast],
                depends=ext.depends,
            )
        self.compiler.link_shared_object(
            objects,
            str(target),
            libraries=libraries,
            library_dirs=folders,
            extra_preargs=links,
            extra_postargs=[
                f"-Wl,-soname,{target.name}",
                "-Wl,-rpath,$ORIGIN:$ORIGIN/../../../OpenMM.libs/lib",
            ],
            target_lang="c++",
        )

    def _stand_in(self, name: str) -> Path:
        """Empty library with the name of a platform's, so that we can link to it even if it is not present."""
        folder = Path(self.build_temp) / "stand_in"
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "empty.cpp"
        source.touch()
        objects = self.compiler.compile(
            [str(source)], output_dir=str(folder), extra_postargs=["-g0"]
        )
        soname = [f"-Wl,-soname,{name}"]
        self.compiler.link_shared_object(objects, str(folder / name), extra_postargs=soname)
        return folder / name


class PlatformWheel(bdist_wheel):
    """A wheel for one kind of machine and all Pythons."""

    def get_tag(self) -> tuple[str, str, str]:
        """Tags of the file name."""
        return "py3", "none", super().get_tag()[2]


setup(
    packages=[
        *find_packages(include=["openmm_nemo", "openmm_nemo.*"]),
        "openmm_nemo.torchscript_models",
    ],
    package_dir={"openmm_nemo.torchscript_models": "torchscript_models"},
    package_data={
        "openmm_nemo": ["py.typed"],
        "openmm_nemo.torchscript_models": ["*/*"],
        "openmm_nemo.pages": ["static/*", "static/3dmol/*"],
        "openmm_nemo.evaluation": ["page/*"],
        "openmm_nemo.analysis": ["page/*"],
    },
    ext_modules=[
        library(
            "libOpenMMNemo",
            [
                "BasisGeometry",
                "BasisPairs",
                "ChainMath",
                "HostBasisKernels",
                "Metropolis",
                "NemoBasisForce",
                "NemoBasisForceProxy",
                "NemoLangevinIntegrator",
                "NemoLangevinIntegratorProxy",
                "Properties",
                "PythonApi",
                "ReferenceNemoKernel",
                "VectorMath",
            ],
        ),
        *map(gpu_library, ("OpenCL", "CUDA", "HIP")),
    ],
    cmdclass={"build_ext": BuildPlugin, "bdist_wheel": PlatformWheel},
)
