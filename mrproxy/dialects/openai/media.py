"""Pure. Images, sound and files inside a message: data URLs both ways.

A URL is http(s) or carries its data in base64; anything else (`file:` above all, which vLLM and llama.cpp can read
from their own disks) is refused.
Source: OpenAI API reference, "Images and vision", "File inputs" (2026).
"""

from mrproxy.canonical.conversation import File, Image
from mrproxy.dialects.openai.fields import invalid

# Engines want a type where a caller's dialect has none (Ollama's images): the first bytes tell, in base64.
_SIGNATURES = (("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"), ("/9j/", "image/jpeg"))
_DEFAULT_IMAGE = "image/jpeg"


def split_data_url(url: str, param: str) -> tuple[str, str]:
    """Media type and base64. Raises ClientError."""
    head, comma, data = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if not comma or "base64" not in parameters:
        raise invalid(param, "a data: URL must carry its data in base64")
    return media_type, data


def read_image(url: str, detail: str | None, param: str) -> Image:
    scheme = url[:8].lower()
    if scheme.startswith("data:"):
        media_type, data = split_data_url(url, param)
        return Image(media_type=media_type, data=data, detail=detail)
    if scheme.startswith(("http://", "https://")):
        return Image(url=url, detail=detail)
    raise invalid(param, "an image must be an http(s) URL or a data: URL")


def write_image(image: Image) -> dict[str, object]:
    url = image.url
    if image.data:
        url = f"data:{image.media_type or _guess_type(image.data)};base64,{image.data}"
    said: dict[str, object] = {"url": url}
    if image.detail is not None:
        said["detail"] = image.detail
    return {"type": "image_url", "image_url": said}


def _guess_type(data: str) -> str:
    return next((media_type for start, media_type in _SIGNATURES if data.startswith(start)), _DEFAULT_IMAGE)


def read_file(name: str, data: str, file_id: str, param: str) -> File:
    """`data` is a data URL or bare base64."""
    if not data and not file_id:
        raise invalid(param, "a file needs file_data or file_id")
    media_type = ""
    if data.startswith("data:"):
        media_type, data = split_data_url(data, f"{param}.file_data")
    return File(name=name, media_type=media_type, data=data, file_id=file_id)


def write_file(file: File, label: str, has_files: bool, param: str) -> dict[str, object]:
    """Raises ClientError for a file that the engine cannot be given."""
    if file.text:
        return {"type": "text", "text": f"{file.name}:\n{file.text}" if file.name else file.text}
    if not has_files:
        raise invalid(param, f"{label} cannot read files")
    if file.url:
        raise invalid(param, f"{label} takes files as data, not as a URL")
    said: dict[str, object] = {}
    if file.data:
        said["file_data"] = f"data:{file.media_type};base64,{file.data}" if file.media_type else file.data
    if file.name:
        said["filename"] = file.name
    if file.file_id:
        said["file_id"] = file.file_id
    return {"type": "file", "file": said}
