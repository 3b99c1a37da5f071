"""Whether the Hugging Face hub can be reached."""

from __future__ import annotations

PROBE_SECONDS = 10.0  # how long it may take to answer at all


def hub_answers(repository: str, revision: str | None = None) -> bool:
    """Ask the hub for a model, briefly; False where it cannot be reached, or is not to be.

    Downloads fall back on the cache by themselves, but only after half a minute of retries, or minutes on a network
    that swallows packets. Raises what huggingface_hub raises for a model or revision that the hub does not have.
    """
    from huggingface_hub import errors, model_info

    try:
        model_info(repository, revision=revision, timeout=PROBE_SECONDS)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):  # a private or gated model is the first
        raise
    except OSError:  # what the HTTP client and the hub's offline mode raise
        return False
    return True
