"""Labelled images in fixed parts: what a task trains on, chooses by, and opens once at the end."""

from __future__ import annotations

from nas_agent.tools.images.base import Images, ImageTask, NoImages
from nas_agent.tools.images.loading import image_task_names, load_images, means_images

__all__ = ["ImageTask", "Images", "NoImages", "image_task_names", "load_images", "means_images"]
