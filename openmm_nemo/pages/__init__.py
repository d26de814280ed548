"""Parts of the HTML pages that the package writes: the frame of a page, pictures, and structures in 3D."""
